//! How connections are opened, shared and closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use narthex::postgres::{ConnectFailure, Pool, PoolLimits};
use rstest::rstest;
use sqlx::postgres::PgConnectOptions;

use super::{
    CheckoutFailure, DATABASE, TestPool, backend, count_sessions, limits, options, polled, soon,
    target, text,
};
use crate::support::{eventually, shared_cluster, unique};

#[rstest]
#[case::no_server(|o: PgConnectOptions| o.host("127.0.0.1").port(1), "reached")]
#[case::no_database(|o: PgConnectOptions| o.database("no_such_database"), "refused")]
#[case::no_role(|o: PgConnectOptions| o.username("no_such_role"), "refused")]
#[case::wrong_password(|o: PgConnectOptions| o.password("wrong"), "refused")]
#[tokio::test]
async fn a_pool_that_cannot_be_opened_says_why_at_once(
    #[case] change: fn(PgConnectOptions) -> PgConnectOptions,
    #[case] expected: &str,
) {
    let cluster = shared_cluster();
    let target = target(change(options(&cluster).await));
    let start = Instant::now();
    let failure = Pool::open(target, &limits(1)).await.err().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(failure.to_string().contains(expected), "{failure}");
}

#[tokio::test]
async fn a_connection_that_fails_its_check_is_lent_to_nobody() {
    let mut target = target(options(&shared_cluster()).await);
    target.on_connect = Some(Arc::new(|_| {
        async { Err(ConnectFailure::WrongIdentity("not mine".to_owned())) }.boxed()
    }));
    let failure = Pool::open(target, &limits(1)).await.err().unwrap();
    assert_eq!(failure, ConnectFailure::WrongIdentity("not mine".to_owned()));
}

#[tokio::test]
async fn a_pool_in_full_use_is_busy_and_nothing_worse() {
    let limits = PoolLimits { acquire_timeout: Duration::from_secs(2), ..limits(2) };
    let pool = TestPool::open_with(limits, |options| options).await;
    let (first, _second) = (pool.acquire().await, pool.acquire().await);
    assert_eq!(pool.pool.acquire(()).await.err(), Some(CheckoutFailure::Busy));
    assert_eq!(pool.connections_on_server().await, 2);
    drop(first);
    pool.expect_clean_lease().await;
}

#[tokio::test]
async fn whoever_waits_is_served_when_a_connection_comes_back() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let (next, ()) = tokio::join!(pool.acquire(), async {
        assert_eq!(text(&db, "SELECT 'first' FROM pg_sleep(0.1)").await.unwrap(), "first");
        drop(db);
    });
    assert_eq!(backend(&next).await, before);
}

#[tokio::test]
async fn whoever_waits_is_served_when_a_doubtful_connection_is_closed() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let (next, ()) = tokio::join!(pool.acquire(), async {
        assert!(soon(text(&db, "SELECT pg_sleep(1)::text")).await.is_none());
        drop(db);
    });
    assert_ne!(backend(&next).await, before);
}

#[tokio::test]
async fn whoever_stops_waiting_takes_no_connection_along() {
    let pool = TestPool::open().await;
    for polls in [1, 2, 3] {
        let db = pool.acquire().await;
        assert!(soon(pool.acquire()).await.is_none());
        drop(db);
        drop(polled(pool.acquire(), polls).await);
        pool.expect_clean_lease().await;
    }
    assert!(pool.connections_on_server().await <= 1);
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let limits = PoolLimits { idle_timeout: Duration::from_millis(100), ..limits(3) };
    let pool = TestPool::open_with(limits, |options| options).await;
    drop((pool.acquire().await, pool.acquire().await, pool.acquire().await));
    eventually("no connection is left", async || pool.connections_on_server().await == 0).await;
    pool.expect_clean_lease().await;
}

#[tokio::test]
async fn the_connections_of_a_dropped_pool_close_with_the_last_lease() {
    let pool = TestPool::open_with(limits(2), |options| options).await;
    let (held, given_back) = (pool.acquire().await, pool.acquire().await);
    drop(given_back);
    let TestPool { pool, cluster, name } = pool;
    drop(pool);
    assert_eq!(text(&held, "SELECT 'undisturbed'").await.unwrap(), "undisturbed");
    drop(held);
    let sql = count_sessions(&name);
    eventually("no connection is left", async || cluster.count(DATABASE, &sql).await == 0).await;
}

/// As in a failing server: the pool was in use, and then its database refuses every new connection.
#[tokio::test]
async fn a_pool_without_connections_says_at_once_that_none_can_be_opened() {
    let cluster = shared_cluster();
    let database = format!("closed_{}", unique());
    cluster.execute("postgres", &format!("CREATE DATABASE {database}")).await;
    let pool = Pool::open(target(cluster.options(&database)), &limits(2)).await.unwrap();
    let allow = async |allowed: bool| {
        let sql = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS {allowed}");
        cluster.execute("postgres", &sql).await;
    };
    allow(false).await;
    cluster
        .texts(
            "postgres",
            &format!("SELECT pg_terminate_backend(pid, 5000)::text FROM pg_stat_activity WHERE datname = '{database}'"),
        )
        .await;
    let broken = pool.acquire(()).await.unwrap();
    assert!(text(&broken, "SELECT 'mine'").await.is_err());
    drop(broken);
    let start = Instant::now();
    for _ in 0..3 {
        let failure = pool.acquire(()).await.err();
        assert!(
            matches!(failure, Some(CheckoutFailure::Connect(ConnectFailure::Refused(_)))),
            "{failure:?}"
        );
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    allow(true).await;
    let db = pool.acquire(()).await.unwrap();
    assert_eq!(text(&db, "SELECT 'again'").await.unwrap(), "again");
}

/// It is asked for a sign of life, and gives one.
#[tokio::test]
async fn a_connection_that_has_rested_is_the_same_afterwards() {
    let pool = TestPool::open_with(limits(1), |options| options).await;
    let backend =
        async || text(&pool.acquire().await, "SELECT pg_backend_pid()::text").await.unwrap();
    let before = backend().await;
    tokio::time::sleep(std::time::Duration::from_millis(5_300)).await;
    assert_eq!(backend().await, before);
}
