//! Never more open pools than `router.max_open_tenants`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use narthex::tenant_router::{PoolEvent, RouterError};

use super::{Hall, ask, connect, count, visit};

#[tokio::test]
async fn the_least_recently_used_pool_makes_room() {
    let hall = Hall::with(4).await;
    let router = hall.router(|settings| settings.max_open_tenants = 3);
    let [a, b, c, d] = hall.ids[..] else { unreachable!() };
    let of_a = visit(&router, a).await;
    visit(&router, b).await;
    let of_c = visit(&router, c).await;
    assert_eq!(visit(&router, a).await, of_a);
    visit(&router, d).await;
    assert_eq!((router.statistics().open, count(&router, PoolEvent::Evicted)), (3, 1));
    hall.no_connections_of(b).await;
    assert_eq!(visit(&router, a).await, of_a, "the most recently used one was retired");
    assert_eq!(visit(&router, c).await, of_c);
    assert_eq!(count(&router, PoolEvent::Opened), 4);
}

#[tokio::test]
async fn a_pool_in_use_is_never_retired_for_another_tenant() {
    let hall = Hall::with(3).await;
    let router = hall.router(|settings| settings.max_open_tenants = 2);
    let [a, b, c] = hall.ids[..] else { unreachable!() };
    let held = connect(&router, a).await.unwrap();
    let (_, of_a) = ask(&held).await;
    visit(&router, b).await;
    visit(&router, c).await;
    hall.no_connections_of(b).await;
    assert_eq!(ask(&held).await, (a, of_a));
    drop(held);
    assert_eq!(visit(&router, a).await, of_a, "the pool in use was retired");
}

#[tokio::test]
async fn with_every_pool_in_use_a_further_tenant_waits_and_is_told_honestly() {
    let hall = Hall::with(3).await;
    let router = hall.router(|settings| {
        settings.max_open_tenants = 2;
        settings.acquire_timeout = Duration::from_secs(2);
    });
    let [a, b, c] = hall.ids[..] else { unreachable!() };
    let (first, _second) = (connect(&router, a).await.unwrap(), connect(&router, b).await.unwrap());
    let start = Instant::now();
    let refused = connect(&router, c).await.err();
    assert!(matches!(refused, Some(RouterError::Saturated)), "{refused:?}");
    assert!(start.elapsed() >= Duration::from_secs(2), "refused without waiting");
    visit(&router, a).await;
    drop(first);
    visit(&router, c).await;
    assert_eq!(router.statistics().open, 2);
}

#[tokio::test]
async fn a_tenant_that_waits_for_room_is_served_when_a_lease_ends() {
    let hall = Hall::with(2).await;
    let router = hall.router(|settings| {
        settings.max_open_tenants = 1;
        settings.acquire_timeout = Duration::from_secs(60);
    });
    let [a, b] = hall.ids[..] else { unreachable!() };
    let held = connect(&router, a).await.unwrap();
    let waiting = {
        let router = router.clone();
        tokio::spawn(async move { visit(&router, b).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished(), "served beyond the cap");
    let start = Instant::now();
    drop(held);
    waiting.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    hall.no_connections_of(a).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_any_load_the_cap_holds_and_all_are_served() {
    let hall = Hall::with(5).await;
    let router = hall.router(|settings| {
        settings.max_open_tenants = 2;
        settings.acquire_timeout = Duration::from_secs(60);
    });
    let ended = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn({
        let (router, ended) = (router.clone(), ended.clone());
        async move {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                most = most.max(router.statistics().open);
                tokio::task::yield_now().await;
            }
            most
        }
    });
    let visits = (0..60).map(|n| {
        let (router, id) = (router.clone(), hall.ids[n % 5]);
        tokio::spawn(async move { visit(&router, id).await })
    });
    for visit in join_all(visits).await {
        visit.unwrap();
    }
    ended.store(true, Ordering::Relaxed);
    assert_eq!(watch.await.unwrap(), 2);
    assert_eq!(router.statistics().leases, 0);
    assert!(count(&router, PoolEvent::Evicted) >= 3);
}
