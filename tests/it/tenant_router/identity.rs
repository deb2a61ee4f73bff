//! Right database, proven: a wrong one answers nobody.

use narthex::identifiers::TenantId;
use narthex::postgres::ConnectFailure;
use narthex::tenant_router::{RouterError, TenantDb};
use rstest::rstest;

use super::{Hall, connect, failure_of, visit_eventually};
use narthex::sealing::aad;

#[track_caller]
fn assert_wrong_identity(outcome: Result<TenantDb, RouterError>) {
    let failure = failure_of(outcome);
    assert!(matches!(failure, ConnectFailure::WrongIdentity(_)), "{failure:?}");
}

#[rstest]
#[case::of_another_tenant("UPDATE tenant_identity SET tenant_id = gen_random_uuid()")]
#[case::of_nobody("DELETE FROM tenant_identity")]
#[case::of_two(
    "ALTER TABLE tenant_identity DROP only_row;
                INSERT INTO tenant_identity SELECT gen_random_uuid(), now()"
)]
#[case::unreadable("REVOKE ALL ON tenant_identity FROM narthex_tenant")]
#[case::without_identity("DROP TABLE tenant_identity")]
#[tokio::test]
async fn a_database_that_is_not_the_tenants_is_refused(#[case] tampering: &str) {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    hall.tamper(id, tampering).await;
    for _ in 0..2 {
        assert_wrong_identity(connect(&router, id).await);
    }
    assert_wrong_identity(router.connect_for_provisioning(id).await);
    assert_eq!(router.statistics().open, 0);
    hall.no_connections_of(id).await;
}

#[tokio::test]
async fn a_database_that_is_the_tenants_again_is_served_again() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    hall.tamper(id, "UPDATE tenant_identity SET tenant_id = gen_random_uuid()").await;
    assert_wrong_identity(connect(&router, id).await);
    hall.tamper(id, &format!("UPDATE tenant_identity SET tenant_id = '{id}'")).await;
    visit_eventually(&router, id).await;
}

/// The password of a tenant's role.
fn password(hall: &Hall, id: TenantId, sealed: &[u8]) -> Vec<u8> {
    hall.app.registry.sealer().open(&aad::tenant_password(id), sealed).unwrap()
}

#[tokio::test]
async fn a_registry_that_names_anothers_database_leads_nowhere() {
    let hall = Hall::with(2).await;
    let router = hall.router(|_| {});
    let [a, b] = hall.ids[..] else { unreachable!() };
    hall.change_row(b, "database_name = 'elsewhere'").await;
    hall.change_row(a, &format!("database_name = '{}'", b.database_name())).await;
    let refused = connect(&router, a).await.err();
    assert!(
        matches!(refused, Some(RouterError::Unavailable(ConnectFailure::Refused(_)))),
        "{refused:?}"
    );
}

/// Everything in the registry leads to the other tenant, and its server lets us in: only the identity is left.
#[tokio::test]
async fn a_registry_that_mixes_two_tenants_up_leads_nowhere() {
    let hall = Hall::with(2).await;
    let router = hall.router(|_| {});
    let [a, b] = hall.ids[..] else { unreachable!() };
    let of_b = super::tenant(&router, b).await;
    let sealed = hall
        .app
        .registry
        .sealer()
        .seal(&aad::tenant_password(a), &password(&hall, b, &of_b.sealed_password))
        .unwrap();
    hall.change_row(b, "database_name = 'elsewhere', role_name = 'elsewhere'").await;
    hall.change_row(
        a,
        &format!(
            "database_name = '{name}', role_name = '{name}', sealed_password = '\\x{}'",
            hex::encode(sealed),
            name = b.database_name(),
        ),
    )
    .await;
    assert_wrong_identity(connect(&router, a).await);
}
