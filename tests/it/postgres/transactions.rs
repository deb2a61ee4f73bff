//! Transactions and how they end.

use narthex::postgres::{Transaction, failure};
use rstest::rstest;
use sea_orm::{
    AccessMode, ConnectionTrait, DbErr, IsolationLevel, TransactionError, TransactionOptions,
    TransactionSession, TransactionTrait,
};

use super::{TestPool, backend, text};

#[tokio::test]
async fn a_committed_transaction_gives_its_connection_back() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared(&pool.note("kept")).await.unwrap();
    assert!(pool.notes().await.is_empty(), "seen before the commit");
    transaction.commit().await.unwrap();
    drop(db);
    assert_eq!(pool.notes().await, ["kept"]);
    assert_eq!(pool.expect_clean_lease().await, before);
}

#[tokio::test]
async fn a_rolled_back_transaction_gives_its_connection_back() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared(&pool.note("never")).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(text(&db, "SELECT 'after'").await.unwrap(), "after");
    drop(db);
    assert_eq!(pool.expect_clean_lease().await, before);
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn a_dropped_transaction_never_reaches_the_next_request() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared(&pool.note("never")).await.unwrap();
    drop(transaction);
    assert!(text(&db, "SELECT 'mine'").await.is_err(), "used in a transaction that nobody ended");
    drop(db);
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn a_transaction_outlives_its_connection_and_is_closed_when_dropped() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    drop(db);
    transaction.execute_unprepared(&pool.note("never")).await.unwrap();
    assert_eq!(pool.pool.idle_connections(), 0, "given back with its transaction open");
    drop(transaction);
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn a_transaction_forgotten_by_a_panic_is_closed() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let note = pool.note("never");
    let task = tokio::spawn(async move {
        let transaction = db.begin().await.unwrap();
        transaction.execute_unprepared(&note).await.unwrap();
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    pool.expect_replaced(before).await;
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn the_commit_of_a_failed_transaction_is_an_error_and_rolls_back() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared(&pool.note("never")).await.unwrap();
    assert!(text(&transaction, "SELECT (1 / 0)::text").await.is_err());
    let error = text(&transaction, "SELECT 'more'").await.unwrap_err();
    assert_eq!(failure::sqlstate(&error).as_deref(), Some("25P02"));
    assert!(transaction.commit().await.is_err(), "a rollback was reported as a commit");
    assert_eq!(text(&db, "SELECT 'after'").await.unwrap(), "after");
    drop(db);
    assert_eq!(pool.expect_clean_lease().await, before);
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_is_an_error() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared("SET CONSTRAINTS ALL DEFERRED").await.unwrap();
    for _ in 0..2 {
        transaction.execute_unprepared(&pool.note("twice")).await.unwrap();
    }
    let error = transaction.commit().await.unwrap_err();
    assert_eq!(failure::sqlstate(&error).as_deref(), Some("23505"));
    drop(db);
    pool.expect_clean_lease().await;
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn a_statement_beside_an_open_transaction_is_refused() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    assert!(text(&db, "SELECT 'beside'").await.is_err());
    assert!(db.execute_unprepared(&pool.note("beside")).await.is_err());
    assert!(db.begin().await.is_err());
    transaction.execute_unprepared(&pool.note("inside")).await.unwrap();
    transaction.commit().await.unwrap();
    drop(db);
    assert_eq!(pool.notes().await, ["inside"]);
    assert_eq!(pool.expect_clean_lease().await, before);
}

async fn write_twice(transaction: &Transaction<()>, note: &str) -> Result<&'static str, DbErr> {
    transaction.execute_unprepared(note).await?;
    transaction.execute_unprepared(note).await?;
    Ok("done")
}

#[tokio::test]
async fn the_closure_form_commits_a_success_and_rolls_a_failure_back() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let kept = pool.note("kept");
    let done = db
        .transaction::<_, _, DbErr>(|transaction| {
            Box::pin(async move { transaction.execute_unprepared(&kept).await.map(|_| "done") })
        })
        .await;
    assert_eq!(done.unwrap(), "done");
    let never = pool.note("never");
    let failed = db
        .transaction::<_, _, DbErr>(|transaction| {
            Box::pin(async move { write_twice(transaction, &never).await })
        })
        .await;
    match failed.unwrap_err() {
        TransactionError::Transaction(error) => {
            assert_eq!(failure::sqlstate(&error).as_deref(), Some("23505"));
        }
        other => panic!("{other}"),
    }
    drop(db);
    assert_eq!(pool.notes().await, ["kept"]);
    assert_eq!(pool.expect_clean_lease().await, before);
}

#[tokio::test]
async fn the_closure_form_does_not_report_a_hidden_failure_as_a_success() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let note = pool.note("never");
    let outcome = db
        .transaction::<_, _, DbErr>(|transaction| {
            Box::pin(async move {
                let _ = write_twice(transaction, &note).await;
                Ok(())
            })
        })
        .await;
    assert!(matches!(outcome, Err(TransactionError::Connection(_))), "{outcome:?}");
    assert!(pool.notes().await.is_empty());
}

#[rstest]
#[case(None, None, "read committed", "off")]
#[case(Some(IsolationLevel::RepeatableRead), None, "repeatable read", "off")]
#[case(Some(IsolationLevel::Serializable), Some(AccessMode::ReadWrite), "serializable", "off")]
#[case(None, Some(AccessMode::ReadOnly), "read committed", "on")]
#[case(Some(IsolationLevel::Serializable), Some(AccessMode::ReadOnly), "serializable", "on")]
#[tokio::test]
async fn isolation_level_and_access_mode_are_honoured(
    #[case] isolation: Option<IsolationLevel>,
    #[case] access: Option<AccessMode>,
    #[case] level: &str,
    #[case] read_only: &str,
) {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let options = TransactionOptions {
        isolation_level: isolation,
        access_mode: access,
        ..Default::default()
    };
    let begun =
        [db.begin_with_config(isolation, access).await, db.begin_with_options(options).await];
    // The second begins beside the first, and is refused.
    let [Ok(transaction), Err(_)] = begun else { panic!("begun beside an open transaction") };
    assert_eq!(text(&transaction, "SHOW transaction_isolation").await.unwrap(), level);
    assert_eq!(text(&transaction, "SHOW transaction_read_only").await.unwrap(), read_only);
    let written = transaction.execute_unprepared(&pool.note("note")).await;
    assert_eq!(written.is_err(), read_only == "on");
    transaction.rollback().await.unwrap();

    let transaction = db.begin_with_options(options).await.unwrap();
    assert_eq!(text(&transaction, "SHOW transaction_isolation").await.unwrap(), level);
    transaction.rollback().await.unwrap();
    assert_eq!(text(&db, "SHOW transaction_isolation").await.unwrap(), "read committed");
    assert_eq!(text(&db, "SHOW transaction_read_only").await.unwrap(), "off");
}
