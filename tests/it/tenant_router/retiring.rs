//! Pools that leave the map: idle, moved, or at the end.

use std::time::Duration;

use narthex::identifiers::TenantId;
use narthex::tenant_router::PoolEvent;
use sea_orm::ConnectionTrait;

use super::{Hall, ask, connect, count, tenant, visit, warm_up};
use crate::support::eventually;
use narthex::sealing::aad;

#[tokio::test]
async fn a_retired_pool_lets_its_leases_end_undisturbed_and_then_closes() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    let (held, second) = (connect(&router, id).await.unwrap(), connect(&router, id).await.unwrap());
    let before = ask(&held).await;
    drop(second);
    router.close();
    assert_eq!((router.statistics().open, count(&router, PoolEvent::Shutdown)), (0, 1));
    assert_eq!(ask(&held).await, before);
    drop(held);
    hall.no_connections_of(id).await;
}

#[tokio::test]
async fn an_idle_tenant_has_no_connections_on_the_server() {
    let hall = Hall::with(2).await;
    let router = hall.router(|settings| settings.idle_timeout = Duration::from_millis(300));
    let [idle, held] = hall.ids[..] else { unreachable!() };
    let lease = connect(&router, held).await.unwrap();
    let before = ask(&lease).await;
    visit(&router, idle).await;
    hall.no_connections_of(idle).await;
    eventually("the idle pool is retired", async || count(&router, PoolEvent::Idle) == 1).await;
    assert_eq!(router.statistics().open, 1, "the pool in use was retired with it");
    assert_eq!(ask(&lease).await, before);
    drop(lease);
    hall.no_connections_of(held).await;
    visit(&router, idle).await;
}

/// Gives a tenant another password, in the registry and on the server.
async fn change_password(hall: &Hall, id: TenantId, password: &str) {
    let sealed =
        hall.app.registry.sealer().seal(&aad::tenant_password(id), password.as_bytes()).unwrap();
    hall.change_row(id, &format!("sealed_password = '\\x{}'", hex::encode(sealed))).await;
    let sql = format!("ALTER ROLE {} PASSWORD '{password}'", id.database_name());
    hall.app.cluster.execute("postgres", &sql).await;
}

#[tokio::test]
async fn a_changed_password_leads_to_a_new_pool() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|settings| settings.max_open_tenants = 1), hall.ids[0]);
    let held = connect(&router, id).await.unwrap();
    let before = ask(&held).await;
    change_password(&hall, id, "another").await;
    router.directory().forget(id);
    let backend = visit(&router, id).await;
    assert_ne!(backend, before.1);
    assert_eq!((router.statistics().open, count(&router, PoolEvent::Moved)), (1, 1));
    assert_eq!(ask(&held).await, before, "the lease of the old pool was disturbed");
    drop(held);
    assert_eq!(visit(&router, id).await, backend, "a connection of the old pool is in use");
    eventually("the old pool has closed", async || hall.connections_of(id).await == 1).await;
}

#[tokio::test]
async fn a_retired_pool_whose_leases_do_not_end_is_ended_by_force() {
    let hall = Hall::with(2).await;
    let router = hall.router(|settings| settings.retire_timeout = Duration::from_secs(2));
    let [id, other] = hall.ids[..] else { unreachable!() };
    warm_up(&router, other).await;
    let (held, used) = (connect(&router, id).await.unwrap(), connect(&router, id).await.unwrap());
    let before = ask(&used).await;
    hall.change_row(id, "status = 'suspended'").await;
    eventually("the pool is retired", async || router.statistics().retiring == 1).await;
    assert_eq!(ask(&used).await, before, "the leases of a retired pool were disturbed");
    hall.no_connections_of(id).await;
    assert!(used.execute_unprepared("SELECT 1").await.is_err());
    assert_eq!(count(&router, PoolEvent::Stopped), 1);
    drop((held, used));
    eventually("nothing is retiring", async || router.statistics().retiring == 0).await;
}

/// Metrics, health and sweeps look; looking is no use.
#[tokio::test]
async fn looking_at_a_pool_does_not_keep_it_open() {
    let hall = Hall::with(1).await;
    let (router, id) =
        (hall.router(|settings| settings.idle_timeout = Duration::from_millis(400)), hall.ids[0]);
    visit(&router, id).await;
    eventually("the idle pool is retired", async || {
        router.statistics();
        router.pool_of(id).is_none()
    })
    .await;
    assert_eq!(count(&router, PoolEvent::Idle), 1);
    hall.no_connections_of(id).await;
}

/// The row of a request that was slow, against a pool that a newer row has opened.
#[tokio::test]
async fn an_older_row_does_not_replace_the_pool_of_a_newer_one() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    let row = async || {
        // Each time by a router that remembers nothing.
        let row = tenant(&hall.router(|_| {}), id).await;
        let password = hall
            .app
            .registry
            .sealer()
            .open(&aad::tenant_password(id), &row.sealed_password)
            .unwrap();
        (row, password)
    };
    // The same password, sealed anew: each row is good by itself, and differs from the others.
    let change = async |password: &[u8]| {
        let sealed = hall.app.registry.sealer().seal(&aad::tenant_password(id), password).unwrap();
        let sealed = hex::encode(sealed);
        hall.change_row(
            id,
            &format!("sealed_password = '\\x{sealed}', updated_at = clock_timestamp()"),
        )
        .await;
    };
    let (older, password) = row().await;
    change(&password).await;
    let (newer, _) = row().await;
    let (_, backend) = ask(&router.connect(&newer).await.unwrap()).await;
    for _ in 0..2 {
        let (_, same) = ask(&router.connect(&older).await.unwrap()).await;
        assert_eq!(same, backend);
    }
    assert_eq!((count(&router, PoolEvent::Opened), count(&router, PoolEvent::Moved)), (1, 0));
    change(&password).await;
    let (newest, _) = row().await;
    let (_, other) = ask(&router.connect(&newest).await.unwrap()).await;
    assert_ne!(other, backend);
    assert_eq!((count(&router, PoolEvent::Opened), count(&router, PoolEvent::Moved)), (2, 1));
}
