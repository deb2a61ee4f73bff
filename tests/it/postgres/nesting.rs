//! Transactions within transactions, which are savepoints of the server.

use sea_orm::{ConnectionTrait, TransactionSession, TransactionTrait};

use super::{TestPool, backend, polled, text};

#[tokio::test]
async fn the_rollback_of_an_inner_transaction_keeps_the_outer_one() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let outer = db.begin().await.unwrap();
    outer.execute_unprepared(&pool.note("outer")).await.unwrap();
    for _ in 0..2 {
        let inner = outer.begin().await.unwrap();
        inner.execute_unprepared(&pool.note("inner")).await.unwrap();
        inner.rollback().await.unwrap();
    }
    let innermost = outer.begin().await.unwrap().begin().await;
    drop(innermost);
    drop(outer);
    drop(db);
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn each_level_ends_as_it_was_told() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let outer = db.begin().await.unwrap();
    outer.execute_unprepared(&pool.note("a: outer")).await.unwrap();
    let refused = outer.begin().await.unwrap();
    refused.execute_unprepared(&pool.note("inner, rolled back")).await.unwrap();
    refused.rollback().await.unwrap();
    let inner = outer.begin().await.unwrap();
    inner.execute_unprepared(&pool.note("b: inner")).await.unwrap();
    let innermost = inner.begin().await.unwrap();
    innermost.execute_unprepared(&pool.note("innermost, rolled back")).await.unwrap();
    innermost.rollback().await.unwrap();
    inner.commit().await.unwrap();
    outer.execute_unprepared(&pool.note("c: outer again")).await.unwrap();
    outer.commit().await.unwrap();
    drop(db);
    assert_eq!(pool.notes().await, ["a: outer", "b: inner", "c: outer again"]);
    assert_eq!(pool.expect_clean_lease().await, before);
}

#[tokio::test]
async fn the_failure_of_an_inner_transaction_does_not_fail_the_outer_one() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let outer = db.begin().await.unwrap();
    outer.execute_unprepared(&pool.note("outer")).await.unwrap();
    let inner = outer.begin().await.unwrap();
    assert!(inner.execute_unprepared(&pool.note("outer")).await.is_err());
    assert!(inner.commit().await.is_err(), "a rollback was reported as a commit");
    outer.commit().await.unwrap();
    drop(db);
    assert_eq!(pool.notes().await, ["outer"]);
    assert_eq!(pool.expect_clean_lease().await, before);
}

#[tokio::test]
async fn a_dropped_inner_transaction_closes_the_whole() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let outer = db.begin().await.unwrap();
    outer.execute_unprepared(&pool.note("outer")).await.unwrap();
    drop(outer.begin().await.unwrap());
    assert!(text(&outer, "SELECT 'mine'").await.is_err());
    assert!(outer.commit().await.is_err(), "committed over a forgotten inner transaction");
    drop(db);
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn a_cancelled_inner_begin_closes_the_whole() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let outer = db.begin().await.unwrap();
    outer.execute_unprepared(&pool.note("outer")).await.unwrap();
    drop(polled(outer.begin(), 1).await);
    assert!(outer.commit().await.is_err(), "committed over a doubtful savepoint");
    drop(db);
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn an_outer_transaction_cannot_end_before_its_inner_one() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let outer = db.begin().await.unwrap();
    outer.execute_unprepared(&pool.note("outer")).await.unwrap();
    let inner = outer.begin().await.unwrap();
    inner.execute_unprepared(&pool.note("inner")).await.unwrap();
    assert!(outer.execute_unprepared(&pool.note("beside")).await.is_err());
    assert!(outer.commit().await.is_err(), "committed with the inner one open");
    assert!(inner.commit().await.is_err(), "committed into an outer one that is gone");
    drop(db);
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}
