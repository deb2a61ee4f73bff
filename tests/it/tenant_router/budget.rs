//! Never more connections to a server than its budget has, and a fair share of them for every tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use narthex::app::{App, StartError};
use narthex::clock::Clock;
use narthex::identifiers::TenantId;
use narthex::tenant_router::{BudgetUse, PoolEvent, Refusal, RouterError, TenantDb, TenantRouter};
use sea_orm::ConnectionTrait;

use super::{Hall, ask, connect, count, tenant, visit, warm_up};
use crate::support::{TestApp, eventually};

/// The budget of the one server.
fn usage(router: &TenantRouter) -> BudgetUse {
    let servers = router.statistics().servers;
    assert_eq!(servers.len(), 1);
    servers[0].budget.clone()
}

async fn connect_all(router: &TenantRouter, id: TenantId, connections: usize) -> Vec<TenantDb> {
    let leases = join_all((0..connections).map(|_| connect(router, id))).await;
    leases.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_any_load_the_budget_holds_and_all_are_served() {
    let hall = Hall::with(6).await;
    let router = hall.router(|settings| {
        settings.max_connections_per_server = Some(4);
        settings.max_connections_per_tenant = 3;
        settings.acquire_timeout = Duration::from_secs(60);
    });
    let ended = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn({
        let (router, ended) = (router.clone(), ended.clone());
        async move {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                let servers = router.statistics().servers;
                most = most.max(servers.first().map_or(0, |server| server.budget.used));
                tokio::task::yield_now().await;
            }
            most
        }
    });
    let visits = (0..120).map(|n| {
        let (router, id) = (router.clone(), hall.ids[n % 6]);
        tokio::spawn(async move {
            let db = connect(&router, id).await.unwrap();
            db.execute_unprepared("SELECT pg_sleep(0.005)").await.unwrap();
            assert_eq!(ask(&db).await.0, id);
        })
    });
    for visit in join_all(visits).await {
        visit.unwrap();
    }
    ended.store(true, Ordering::Relaxed);
    assert_eq!(watch.await.unwrap(), 4);
    assert_eq!((usage(&router).waiting, router.statistics().leases), (0, 0));
    router.close();
    eventually("every place has come back", async || usage(&router).used == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_under_heavy_load_gives_way_to_the_others() {
    let hall = Hall::with(3).await;
    let router = hall.router(|settings| {
        settings.max_connections_per_server = Some(4);
        settings.acquire_timeout = Duration::from_secs(20);
    });
    let [busy, calm, quiet] = hall.ids[..] else { unreachable!() };
    let ended = Arc::new(AtomicBool::new(false));
    let load = (0..16).map(|_| {
        let (router, ended) = (router.clone(), ended.clone());
        tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let db = connect(&router, busy).await.unwrap();
                db.execute_unprepared("SELECT pg_sleep(0.01)").await.unwrap();
            }
        })
    });
    let load: Vec<_> = load.collect();
    eventually("the busy tenant has everything", async || {
        router.pool_of(busy).is_some_and(|pool| pool.connections == 4)
    })
    .await;
    for _ in 0..10 {
        visit(&router, calm).await;
        visit(&router, quiet).await;
    }
    assert!(router.pool_of(busy).is_some_and(|pool| pool.connections < 4));
    ended.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn idle_pools_make_room_on_the_server_the_least_recently_used_first() {
    let hall = Hall::with(3).await;
    let router = hall.router(|settings| settings.max_connections_per_server = Some(2));
    let [a, b, c] = hall.ids[..] else { unreachable!() };
    visit(&router, a).await;
    let of_b = visit(&router, b).await;
    visit(&router, c).await;
    assert_eq!((count(&router, PoolEvent::Reclaimed), count(&router, PoolEvent::Evicted)), (1, 0));
    hall.no_connections_of(a).await;
    assert_eq!(visit(&router, b).await, of_b, "the more recently used one was closed");
}

#[tokio::test]
async fn idle_connections_of_a_pool_in_use_make_room_too() {
    let hall = Hall::with(2).await;
    let router = hall.router(|settings| settings.max_connections_per_server = Some(3));
    let [a, b] = hall.ids[..] else { unreachable!() };
    let mut held = connect_all(&router, a, 3).await;
    held.truncate(1);
    let before = ask(&held[0]).await;
    visit(&router, b).await;
    assert_eq!(ask(&held[0]).await, before, "the connection in use was closed");
    assert_eq!(count(&router, PoolEvent::Reclaimed), 0);
}

#[tokio::test]
async fn without_room_on_the_server_the_answer_is_honest() {
    let hall = Hall::with(2).await;
    let router = hall.router(|settings| {
        settings.max_connections_per_server = Some(2);
        settings.acquire_timeout = Duration::from_secs(2);
    });
    let [a, b] = hall.ids[..] else { unreachable!() };
    let held = connect_all(&router, a, 2).await;
    let refused = connect(&router, b).await.err();
    assert!(matches!(refused, Some(RouterError::Saturated)), "a tenant without any: {refused:?}");
    let refused = connect(&router, a).await.err();
    assert!(matches!(refused, Some(RouterError::PoolBusy)), "a tenant with two: {refused:?}");
    let statistics = router.statistics();
    assert_eq!(
        (statistics.refused(Refusal::Saturated), statistics.refused(Refusal::PoolBusy)),
        (1, 1)
    );
    drop(held);
    visit(&router, b).await;
}

#[tokio::test]
async fn the_reserve_is_there_for_webhooks_when_all_else_is_taken() {
    let hall = Hall::with(2).await;
    let router = hall.router(|settings| {
        settings.max_connections_per_server = Some(10);
        settings.acquire_timeout = Duration::from_secs(4);
    });
    let [a, b] = hall.ids[..] else { unreachable!() };
    let _held = connect_all(&router, a, 9).await;
    let of_b = tenant(&router, b).await;
    let refused = router.connect(&of_b).await.err();
    assert!(matches!(refused, Some(RouterError::Saturated)), "{refused:?}");
    let db = router.connect_urgently(&of_b).await.unwrap();
    assert_eq!(ask(&db).await.0, b);
    assert_eq!(usage(&router).used, 10);
}

/// The server would run the statement for a minute. Its place is free when it has ended, and not before.
#[tokio::test]
async fn an_abandoned_statement_keeps_its_place_until_the_server_has_ended_it() {
    let hall = Hall::with(2).await;
    let router = hall.router(|settings| {
        settings.max_connections_per_server = Some(1);
        settings.statement_timeout = Duration::from_secs(60);
    });
    let [a, b] = hall.ids[..] else { unreachable!() };
    let db = connect(&router, a).await.unwrap();
    let mut statement = Box::pin(db.execute_unprepared("SELECT pg_sleep(60)"));
    assert!(statement.as_mut().now_or_never().is_none());
    let running = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND query LIKE '%pg_sleep%'",
        a.database_name()
    );
    eventually("the statement runs", async || {
        hall.app.cluster.count("postgres", &running).await == 1
    })
    .await;
    drop(statement);
    drop(db);
    assert_eq!(usage(&router).used, 1);
    visit(&router, b).await;
    assert_eq!(hall.app.cluster.count("postgres", &running).await, 0, "it runs beside the budget");
}

#[tokio::test]
async fn a_caller_who_gives_up_leaves_no_place_taken() {
    let hall = Hall::with(3).await;
    let router = hall.router(|settings| settings.max_connections_per_server = Some(1));
    let [a, b, c] = hall.ids[..] else { unreachable!() };
    warm_up(&router, c).await;
    let held = connect(&router, a).await.unwrap();
    let of_b = tenant(&router, b).await;
    for _ in 0..5 {
        let mut waiting = Box::pin(router.connect(&of_b));
        assert!(waiting.as_mut().now_or_never().is_none());
    }
    drop(held);
    for id in [a, b, c, a] {
        visit(&router, id).await;
    }
    router.close();
    eventually("every place has come back", async || usage(&router).used == 0).await;
}

#[tokio::test]
async fn settings_that_do_not_fit_the_server_are_refused_at_the_start() {
    let app = TestApp::start().await;
    let mut settings = app.settings.clone();
    settings.router.max_connections_per_server = Some(400);
    settings.router.replicas = 2;
    let refused = App::open(settings.clone(), Clock::system()).await.err();
    let Some(StartError::Budget(error)) = refused else { panic!("{refused:?}") };
    let text = error.to_string();
    for expected in ["max_connections 600", "2 replica(s)", "asks for 400", "at most 267"] {
        assert!(text.contains(expected), "{expected} is missing in: {text}");
    }
    settings.router.max_connections_per_server = Some(267);
    App::open(settings, Clock::system()).await.unwrap().close().await;
}

/// Ordinary first requests stand in line; a webhook to a cold tenant passes them.
#[tokio::test]
async fn a_line_of_cold_tenants_does_not_keep_a_webhook_from_the_reserve() {
    let hall = Hall::with(4).await;
    let router = hall.router(|settings| {
        settings.max_connections_per_server = Some(10);
        settings.max_cold_opens = 1;
    });
    let [a, b, c, d] = hall.ids[..] else { unreachable!() };
    let held = connect_all(&router, a, 9).await;
    let in_line: Vec<_> = [b, c]
        .into_iter()
        .map(|id| {
            let router = router.clone();
            tokio::spawn(async move { visit(&router, id).await })
        })
        .collect();
    eventually("both stand in line", async || usage(&router).waiting == 2).await;
    let db = router.connect_urgently(&tenant(&router, d).await).await.unwrap();
    assert_eq!(ask(&db).await.0, d);
    drop((db, held));
    for visit in in_line {
        visit.await.unwrap();
    }
}

/// It was opened for somebody who has gone meanwhile, and nobody ever looked at it.
#[tokio::test]
async fn a_pool_that_nobody_waited_for_gives_its_place_back_too() {
    let hall = Hall::with(3).await;
    let router = hall.router(|settings| settings.max_connections_per_server = Some(1));
    let [a, b, other] = hall.ids[..] else { unreachable!() };
    warm_up(&router, other).await;
    eventually("the place is free", async || {
        router.close();
        usage(&router).used == 0
    })
    .await;
    let of_a = tenant(&router, a).await;
    let mut first = Box::pin(router.connect(&of_a));
    assert!(first.as_mut().now_or_never().is_none());
    while usage(&router).used == 0 {
        tokio::task::yield_now().await;
    }
    drop(first);
    visit(&router, b).await;
}
