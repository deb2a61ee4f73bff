//! Futures that are dropped in the middle.

use std::time::Duration;

use rstest::rstest;
use sea_orm::{ConnectionTrait, TransactionSession, TransactionTrait};

use super::{TestPool, backend, polled, soon, text};

const SLEEP: &str = "SELECT 'slept' FROM pg_sleep(60)";

#[tokio::test]
async fn a_cancelled_statement_closes_its_connection() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    assert!(soon(text(&db, SLEEP)).await.is_none());
    assert!(text(&db, "SELECT 'mine'").await.is_err(), "used after a cancelled statement");
    drop(db);
    assert_ne!(pool.expect_clean_lease().await, before);
    pool.terminate(before).await;
}

#[tokio::test]
async fn a_cancelled_statement_closes_its_transaction() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared(&pool.note("never")).await.unwrap();
    assert!(soon(text(&transaction, SLEEP)).await.is_none());
    assert!(transaction.commit().await.is_err(), "committed after a cancelled statement");
    drop(db);
    assert_ne!(pool.expect_clean_lease().await, before);
    pool.terminate(before).await;
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn a_statement_cancelled_in_the_queue_harms_nobody() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let first = text(&db, "SELECT 'first' FROM pg_sleep(0.3)");
    let (first, second) = tokio::join!(first, soon(text(&db, "SELECT 'second'")));
    assert_eq!(first.unwrap(), "first");
    assert!(second.is_none(), "two statements at once on one connection");
    assert_eq!(text(&db, "SELECT 'third'").await.unwrap(), "third");
    drop(db);
    assert_eq!(pool.expect_clean_lease().await, before);
}

#[rstest]
#[tokio::test]
async fn a_cancelled_begin_never_lends_an_open_transaction(#[values(0, 1, 2, 3)] polls: usize) {
    let pool = TestPool::open().await;
    for _ in 0..20 {
        let db = pool.acquire().await;
        drop(polled(db.begin(), polls).await);
        drop(db);
        pool.expect_clean_lease().await;
    }
}

#[tokio::test]
async fn a_begin_that_was_cut_off_at_any_moment_never_lends_an_open_transaction() {
    let pool = TestPool::open().await;
    for moment in 0..60 {
        let db = pool.acquire().await;
        let _ = tokio::time::timeout(Duration::from_micros(moment * 35), db.begin()).await;
        drop(db);
        pool.expect_clean_lease().await;
    }
}

#[tokio::test]
async fn a_begin_that_never_started_leaves_the_connection_as_it_was() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    drop(db.begin());
    drop(db);
    assert_eq!(pool.expect_clean_lease().await, before);
}

#[rstest]
#[tokio::test]
async fn a_cancelled_commit_never_lends_its_connection(#[values(0, 1, 2)] polls: usize) {
    let pool = TestPool::open().await;
    for round in 0..10 {
        let db = pool.acquire().await;
        let before = backend(&db).await;
        let transaction = db.begin().await.unwrap();
        let note = format!("{polls} {round}");
        transaction.execute_unprepared(&pool.note(&note)).await.unwrap();
        let committed = polled(transaction.commit(), polls).await;
        drop(db);
        let next = pool.expect_clean_lease().await;
        match committed {
            Some(committed) => {
                committed.unwrap();
                assert!(pool.notes().await.contains(&note), "an acknowledged commit was lost");
            }
            None => assert_ne!(next, before),
        }
        if polls == 0 {
            assert!(!pool.notes().await.contains(&note), "a commit that nobody asked for");
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_cancelled_rollback_never_lends_its_connection(#[values(0, 1)] polls: usize) {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared(&pool.note("never")).await.unwrap();
    let rolled_back = polled(transaction.rollback(), polls).await;
    drop(db);
    assert_eq!(pool.expect_clean_lease().await == before, rolled_back.is_some());
    assert!(pool.notes().await.is_empty());
}
