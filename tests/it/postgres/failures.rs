//! Failures that the server reports, and sockets that break.

use std::time::Duration;

use narthex::postgres::failure;
use rstest::rstest;
use sea_orm::{ConnectionTrait, TransactionSession, TransactionTrait};

use super::{TestPool, backend, limits, text};
use crate::support::eventually;

#[rstest]
#[case::unique_violation("INSERT INTO {notes} VALUES ('twice'), ('twice')", "23505")]
#[case::division_by_zero("SELECT 1 / 0", "22012")]
#[case::no_such_table("SELECT 1 FROM no_such_table", "42P01")]
#[case::syntax("SELEKT", "42601")]
#[case::lock_not_available("DO $$ BEGIN RAISE lock_not_available; END $$", "55P03")]
#[tokio::test]
async fn an_ordinary_error_keeps_the_connection(#[case] sql: &str, #[case] sqlstate: &str) {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let error = db.execute_unprepared(&sql.replace("{notes}", &pool.name)).await.unwrap_err();
    assert_eq!(failure::sqlstate(&error).as_deref(), Some(sqlstate));
    assert!(!failure::is_unavailable(&error));
    assert_eq!(backend(&db).await, before);
    drop(db);
    assert_eq!(pool.expect_clean_lease().await, before);
}

#[tokio::test]
async fn a_violated_constraint_has_a_name() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    db.execute_unprepared(&pool.note("twice")).await.unwrap();
    let error = db.execute_unprepared(&pool.note("twice")).await.unwrap_err();
    let expected = format!("{}_note_key", pool.name);
    assert_eq!(failure::violated_unique_constraint(&error), Some(expected.as_str()));
}

#[tokio::test]
async fn a_timed_out_statement_closes_its_connection() {
    let pool =
        TestPool::open_with(limits(1), |options| options.options([("statement_timeout", "50")]))
            .await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let error = text(&db, "SELECT pg_sleep(60)::text").await.unwrap_err();
    assert_eq!(failure::sqlstate(&error).as_deref(), Some("57014"));
    assert!(failure::is_unavailable(&error));
    assert!(text(&db, "SELECT 'mine'").await.is_err(), "used after a timeout");
    drop(db);
    pool.expect_replaced(before).await;
}

#[tokio::test]
async fn a_timed_out_statement_closes_its_transaction() {
    let pool =
        TestPool::open_with(limits(1), |options| options.options([("statement_timeout", "50")]))
            .await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared(&pool.note("never")).await.unwrap();
    assert!(text(&transaction, "SELECT pg_sleep(60)::text").await.is_err());
    assert!(transaction.rollback().await.is_err());
    drop(db);
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}

/// Runs for as long as nobody ends it from outside. It may have written by then, so that it is not run again.
async fn end_from_outside(pool: &TestPool, function: &str) {
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let sql = format!("WITH note AS ({}) SELECT pg_sleep(60)::text", pool.note("never"));
    let (outcome, ()) = tokio::join!(text(&db, &sql), async {
        let sleeping = format!(
            "SELECT {function}(pid)::text FROM pg_stat_activity WHERE pid = {before} AND wait_event = 'PgSleep'"
        );
        eventually("the statement runs and is ended", async || {
            pool.texts(&sleeping).await == ["true"]
        })
        .await;
    });
    assert!(failure::is_unavailable(&outcome.unwrap_err()));
    assert!(text(&db, "SELECT 'mine'").await.is_err());
    drop(db);
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}

#[rstest]
#[case::broken_socket("pg_terminate_backend")]
#[case::cancelled_by_an_operator("pg_cancel_backend")]
#[tokio::test]
async fn a_statement_ended_from_outside_closes_its_connection(#[case] function: &str) {
    end_from_outside(&TestPool::open().await, function).await;
}

#[tokio::test]
async fn a_socket_that_breaks_in_a_transaction_is_closed() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared(&pool.note("never")).await.unwrap();
    pool.terminate(before).await;
    assert!(failure::is_unavailable(&transaction.commit().await.unwrap_err()));
    drop(db);
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn a_session_that_the_server_ended_for_idling_in_a_transaction_is_closed() {
    let pool = TestPool::open_with(limits(1), |options| {
        options.options([("idle_in_transaction_session_timeout", "50")])
    })
    .await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared(&pool.note("never")).await.unwrap();
    eventually("the server ends the session", async || pool.connections_on_server().await == 0)
        .await;
    assert!(failure::is_unavailable(&text(&transaction, "SELECT 'late'").await.unwrap_err()));
    assert!(transaction.rollback().await.is_err());
    drop(db);
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn a_socket_that_breaks_in_the_pool_costs_nobody_anything() {
    let pool = TestPool::open().await;
    let before = pool.expect_clean_lease().await;
    pool.terminate(before).await;
    pool.expect_replaced(before).await;
}

/// The pool asks a connection for a sign of life before it lends it after 5 s of rest.
#[tokio::test]
async fn a_socket_that_broke_long_ago_costs_nobody_anything() {
    let pool = TestPool::open().await;
    let before = pool.expect_clean_lease().await;
    pool.terminate(before).await;
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    pool.expect_replaced(before).await;
}
