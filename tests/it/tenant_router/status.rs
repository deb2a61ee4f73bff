//! Tenants that are not to be served.

use narthex::tenant_router::{PoolEvent, RouterError};
use rstest::rstest;
use uuid::Uuid;

use super::{Hall, connect, count, tenant, visit};
use crate::support::eventually;

#[rstest]
#[case("status = 'suspended'", RouterError::Suspended)]
#[case("status = 'deleted'", RouterError::Deleted)]
#[case("status = 'purging'", RouterError::Deleted)]
#[case("status = 'purged'", RouterError::Deleted)]
#[case("status = 'pending'", RouterError::Provisioning)]
#[case("status = 'provisioning'", RouterError::Provisioning)]
#[case("status = 'failed'", RouterError::Failed)]
#[case("schema_version = 'm20200101_000001'", RouterError::SchemaOutdated)]
#[tokio::test]
async fn a_tenant_is_refused_for_what_its_row_says(
    #[case] row: &str,
    #[case] expected: RouterError,
) {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    hall.change_row(id, row).await;
    let refused = connect(&router, id).await.err();
    assert_eq!(format!("{refused:?}"), format!("{:?}", Some(expected)));
    assert_eq!(count(&router, PoolEvent::Opened), 0);
    assert_eq!(hall.connections_of(id).await, 0);
}

#[tokio::test]
async fn a_warm_tenant_is_refused_as_soon_as_the_directory_looks_again() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    visit(&router, id).await;
    hall.change_row(id, "status = 'suspended'").await;
    eventually("the suspension is noticed", async || {
        matches!(connect(&router, id).await, Err(RouterError::Suspended))
    })
    .await;
    hall.change_row(id, "status = 'active'").await;
    router.directory().forget(id);
    visit(&router, id).await;
    assert!(tenant(&router, id).await.deleted_at.is_none());
}

#[tokio::test]
async fn an_unknown_tenant_is_nobody() {
    let hall = Hall::with(0).await;
    let router = hall.router(|_| {});
    let nobody = narthex::identifiers::TenantId(Uuid::new_v4());
    assert_eq!(router.directory().tenant(nobody).await.unwrap(), None);
    let refused = router.connect_for_provisioning(nobody).await.err();
    assert!(matches!(refused, Some(RouterError::Unknown)), "{refused:?}");
}
