//! Which spare a tenant may be given.

use narthex::identifiers::{TenantId, new_id};
use narthex::registry::tenants::REGISTRY_SERVER;
use narthex::registry::tenants::warm_databases::{self, State, TemplateVersion};
use rstest::rstest;

use crate::support::TestApp;

#[rstest]
#[case::whole_and_current("", true)]
#[case::of_another_schema("schema_version = 'older'", false)]
#[case::of_another_template("template = 'another'", false)]
#[case::on_another_server(
    "server_id = (SELECT id FROM database_servers WHERE name = 'other')",
    false
)]
#[case::not_finished("state = 'making'", false)]
#[case::being_removed("state = 'removing'", false)]
#[case::of_another_tenant("state = 'claimed', claimed_by = gen_random_uuid()", false)]
#[tokio::test]
async fn only_a_spare_that_fits_is_claimed(#[case] change: &str, #[case] fits: bool) {
    let app = TestApp::start().await;
    app.registry_execute(&format!(
        "INSERT INTO database_servers (id, name, host, port, tls_mode, administration_user,
                                       sealed_administration_password, max_tenants, state)
         VALUES ('{}', 'other', 'other.example.org', 5432, 'verify-full', 'narthex', 'x', 1, 'draining')",
        new_id()
    ))
    .await;
    let db = app.registry.connect().await.unwrap();
    // Of a template that no replica makes or removes spares of.
    let wanted =
        TemplateVersion { server: REGISTRY_SERVER, template: "this", schema_version: "current" };
    warm_databases::begin(&db, "spare", &wanted, app.clock.now()).await.unwrap();
    warm_databases::change_state(&db, "spare", State::Making, State::Ready).await.unwrap();
    if !change.is_empty() {
        app.registry_execute(&format!("UPDATE spare_databases SET {change}")).await;
    }
    let tenant = TenantId::generate();
    let claimed = warm_databases::claim(&db, tenant, &wanted).await.unwrap();
    assert_eq!(claimed.as_ref().map(|spare| spare.name.as_str()), fits.then_some("spare"));
    assert_eq!(warm_databases::claim(&db, TenantId::generate(), &wanted).await.unwrap(), None);
    assert_eq!(warm_databases::claimed_by(&db, tenant).await.unwrap(), claimed);
}
