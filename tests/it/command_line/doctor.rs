//! `narthex doctor`: it finds what was done to an installation behind its back.

use narthex::registry::people::operators::Role;
use rstest::rstest;
use serde_json::{Value, json};

use super::CliFixture;
use crate::support::TestApp;

async fn findings(place: &CliFixture) -> Vec<Value> {
    let said = place.run(&["doctor", "--json"]).await;
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let found = found.as_array().unwrap().clone();
    assert_eq!(said.code, Some(i32::from(!found.is_empty())), "{said:?}");
    found
}

/// An installation with something in its audit log, seen whole.
async fn healthy() -> (TestApp, CliFixture) {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    for _ in 0..3 {
        ada.get("/v1/admin/auth/me").await.expect(200);
    }
    let place = CliFixture::of(&app);
    assert_eq!(findings(&place).await, Vec::<Value>::new());
    assert!(place.run(&["doctor"]).await.expect(0).contains("0 finding(s)"));
    assert_eq!(app.registry_count("SELECT sequence FROM audit_heads").await, 5);
    (app, place)
}

#[rstest]
#[case::altered("UPDATE audit_log SET actor_name = 'nobody' WHERE sequence = 3", "entry 3")]
#[case::detail("UPDATE audit_log SET detail = '{}' WHERE sequence = 3", "entry 3")]
#[case::removed("DELETE FROM audit_log WHERE sequence = 3", "entry 3 is missing")]
#[case::cut_off("DELETE FROM audit_log WHERE sequence > 3", "entry 4 is missing")]
#[case::closed_up(
    "DELETE FROM audit_log WHERE sequence = 3; UPDATE audit_log SET sequence = sequence - 1 WHERE sequence > 3",
    "entry 3"
)]
#[case::all("DELETE FROM audit_log", "entry 1 is missing")]
#[case::before_the_first(
    "ALTER TABLE audit_log DROP CONSTRAINT IF EXISTS audit_log_is_numbered, DROP CONSTRAINT IF EXISTS audit_log_is_chained;
     INSERT INTO audit_log (sequence, id, occurred_at, actor_kind, actor_name, action, detail)
     VALUES (0, gen_random_uuid(), now(), 'command', 'Ada', 'tenant.deleted', '{}')",
    "entry 0"
)]
#[tokio::test]
async fn what_was_done_to_the_audit_log_shows(#[case] tampering: &str, #[case] shown: &str) {
    let (app, place) = healthy().await;
    app.registry_execute(tampering).await;
    let found = findings(&place).await;
    assert_eq!((found.len(), &found[0]["kind"]), (1, &json!("audit_log")), "{found:?}");
    assert!(found[0]["detail"].as_str().unwrap().contains(shown), "{found:?}");
    // It is not taken for whole because it was looked at.
    assert_eq!(findings(&place).await, found);
}

#[tokio::test]
async fn what_was_done_to_the_audit_log_of_a_tenant_shows() {
    let (app, place) = healthy().await;
    let (staff, suspended) = (app.register().await, app.register().await);
    staff.add_member("Grace", "+13125550100").await;
    let suspend =
        format!("UPDATE tenants SET status = 'suspended' WHERE id = '{}'", suspended.tenant_id);
    app.registry_execute(&suspend).await;
    assert_eq!(findings(&place).await, Vec::<Value>::new());
    for staff in [&staff, &suspended] {
        app.cluster.execute(&staff.database(), "DELETE FROM audit_log WHERE sequence = 1").await;
    }
    let found = findings(&place).await;
    let about: Vec<_> = found.iter().map(|found| found["about"].as_str().unwrap()).collect();
    assert_eq!(about.len(), 2, "{found:?}");
    for staff in [&staff, &suspended] {
        assert!(about.contains(&&*staff.tenant_id.to_string()), "{found:?}");
    }
}

#[tokio::test]
async fn what_else_is_wrong_is_said_with_what_to_do() {
    let (app, place) = healthy().await;
    let staff = app.register().await;
    let id = staff.tenant_id;
    app.registry_execute(&format!(
        "UPDATE tenants SET schema_version = 'm20200101_000001_old' WHERE id = '{id}';
         UPDATE operators SET sealed_email = substring(sealed_email FROM 1 FOR 5) || 'x'"
    ))
    .await;
    app.cluster
        .execute("postgres", &format!("DROP DATABASE {} WITH (FORCE)", staff.database()))
        .await;
    let found = findings(&place).await;
    let kinds: Vec<&Value> = found.iter().map(|row| &row["kind"]).collect();
    assert_eq!(kinds, ["tenant_schema", "sealed_values", "reconcile"], "{found:?}");
    assert!(found[0]["fix"].as_str().unwrap().starts_with("narthex tenants provision "));
    assert_eq!(found[1]["about"], "operators.sealed_email");
    assert_eq!(found[2]["fix"], "narthex reconcile");
    let table = place.run(&["doctor"]).await.expect(1);
    assert!(table.contains("3 finding(s)"), "{table}");
}

#[tokio::test]
async fn a_registry_that_is_behind_is_found_before_anything_else() {
    let place = CliFixture::new();
    let found = findings(&place).await;
    assert_eq!((found.len(), &found[0]["kind"]), (1, &json!("registry_schema")));
    assert_eq!(found[0]["fix"], "narthex migrate registry");
}
