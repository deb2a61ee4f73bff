//! The first request of a tenant, and those that come with it.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use narthex::postgres::ConnectFailure;
use narthex::tenant_router::{PoolEvent, RouterError};
use rstest::rstest;
use sea_orm::ConnectionTrait;

use super::{Hall, connect, count, failure_of, tenant, visit, visit_eventually, warm_up};
use crate::support::eventually;

#[tokio::test]
async fn a_hundred_first_requests_open_one_pool_and_are_all_served() {
    let hall = Hall::with(1).await;
    let router = hall.router(|_| {});
    let visits = (0..100).map(|_| {
        let (router, id) = (router.clone(), hall.ids[0]);
        tokio::spawn(async move { visit(&router, id).await })
    });
    for visit in join_all(visits).await {
        visit.unwrap();
    }
    assert_eq!(count(&router, PoolEvent::Opened), 1);
    assert_eq!(router.statistics().open, 1);
    assert_eq!(router.statistics().leases, 0);
    assert!(hall.connections_of(hall.ids[0]).await <= 10);
}

#[tokio::test]
async fn a_first_caller_who_gives_up_does_not_fail_those_behind() {
    let hall = Hall::with(2).await;
    let router = hall.router(|_| {});
    warm_up(&router, hall.ids[1]).await;
    let tenant = tenant(&router, hall.ids[0]).await;
    let mut first = Box::pin(router.connect(&tenant));
    assert!(first.as_mut().now_or_never().is_none());
    assert_eq!(router.statistics().leases, 1);
    let behind = join_all((0..20).map(|_| visit(&router, hall.ids[0])));
    let (visits, ()) = tokio::join!(behind, async { drop(first) });
    assert_eq!(visits.len(), 20);
    assert_eq!(count(&router, PoolEvent::Opened), 2);
}

#[rstest]
#[case::cold(false)]
#[case::warm(true)]
#[tokio::test]
async fn a_database_that_refuses_is_unavailable_at_once_and_comes_back_by_itself(
    #[case] warm: bool,
) {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    if warm {
        visit(&router, id).await;
    }
    hall.allow_connections(id, false).await;
    if warm {
        let broken = connect(&router, id).await.unwrap();
        assert!(broken.execute_unprepared("SELECT 1").await.is_err());
    }
    let start = Instant::now();
    for _ in 0..3 {
        let failure = failure_of(connect(&router, id).await);
        assert!(matches!(failure, ConnectFailure::Refused(_)), "{failure:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    hall.allow_connections(id, true).await;
    visit_eventually(&router, id).await;
}

#[tokio::test]
async fn a_failure_that_nobody_waited_for_is_not_told_to_the_next_caller() {
    let hall = Hall::with(2).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    warm_up(&router, hall.ids[1]).await;
    let tenant = tenant(&router, id).await;
    hall.allow_connections(id, false).await;
    assert!(router.connect(&tenant).now_or_never().is_none());
    eventually("the pool could not be opened", async || count(&router, PoolEvent::OpenFailed) == 1)
        .await;
    hall.allow_connections(id, true).await;
    visit_eventually(&router, id).await;
}

#[tokio::test]
async fn a_busy_pool_is_not_reported_as_a_dead_database() {
    let hall = Hall::with(1).await;
    let router = hall.router(|settings| {
        settings.max_connections_per_tenant = 1;
        settings.acquire_timeout = Duration::from_secs(1);
    });
    let id = hall.ids[0];
    let held = connect(&router, id).await.unwrap();
    let refused = connect(&router, id).await.err();
    assert!(matches!(refused, Some(RouterError::PoolBusy)), "{refused:?}");
    drop(held);
    visit(&router, id).await;
    assert_eq!(count(&router, PoolEvent::Opened), 1);
}

#[tokio::test]
async fn a_sealed_password_that_does_not_open_costs_no_other_tenant_its_pool() {
    let hall = Hall::with(2).await;
    let [a, b] = hall.ids[..] else { unreachable!() };
    let router = hall.router(|settings| settings.max_open_tenants = 1);
    let before = visit(&router, a).await;
    hall.change_row(b, "sealed_password = sealed_password || '\\x00'").await;
    let refused = connect(&router, b).await.err();
    assert!(matches!(refused, Some(RouterError::Registry(_))), "{refused:?}");
    assert_eq!(visit(&router, a).await, before);
    assert_eq!(count(&router, PoolEvent::Opened), 1);
}

#[tokio::test]
async fn connections_carry_the_statement_timeout() {
    let hall = Hall::with(1).await;
    let router = hall.router(|settings| settings.statement_timeout = Duration::from_millis(100));
    let db = connect(&router, hall.ids[0]).await.unwrap();
    let error = db.execute_unprepared("SELECT pg_sleep(60)").await.unwrap_err();
    assert_eq!(narthex::postgres::failure::sqlstate(&error).as_deref(), Some("57014"));
    drop(db);
    visit(&router, hall.ids[0]).await;
}
