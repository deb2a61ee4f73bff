//! Sessions that cannot be used any more: what they remember is outdated, or they died while nobody used them.

use std::time::Duration;

use narthex::postgres::failure;
use rstest::rstest;
use sea_orm::{ConnectionTrait, DbErr, Statement, TransactionSession, TransactionTrait};

use super::{TestPool, backend, limits, text, value};

/// Every connection of a full pool has prepared the statement.
async fn prepare_everywhere(pool: &TestPool, connections: usize, sql: &str) {
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(pool.acquire().await);
    }
    for db in &held {
        text(db, sql).await.unwrap();
    }
}

async fn end_all(pool: &TestPool) {
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 5000)::text FROM pg_stat_activity
         WHERE starts_with(application_name, '{}/')",
        pool.name
    );
    assert!(pool.texts(&sql).await.iter().all(|ended| ended == "true"));
}

/// Longer than the time for which a connection is trusted without a look.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

#[tokio::test]
async fn a_column_of_another_type_fails_no_statement_on_any_connection() {
    let pool = TestPool::open_with(limits(3), |options| options).await;
    pool.texts(&format!("{} RETURNING note", pool.note("kept"))).await;
    let sql = format!("SELECT note FROM {}", pool.name);
    prepare_everywhere(&pool, 3, &sql).await;
    let alter = format!("ALTER TABLE {} ALTER COLUMN note TYPE varchar(99)", pool.name);
    pool.cluster.execute(super::DATABASE, &alter).await;
    let held = [pool.acquire().await, pool.acquire().await, pool.acquire().await];
    for db in &held {
        assert_eq!(text(db, &sql).await.unwrap(), "kept");
    }
}

#[tokio::test]
async fn a_transaction_that_meets_an_outdated_plan_fails_and_its_connection_is_replaced() {
    let pool = TestPool::open().await;
    let sql = format!("SELECT note FROM {}", pool.name);
    pool.texts(&format!("{} RETURNING note", pool.note("kept"))).await;
    prepare_everywhere(&pool, 1, &sql).await;
    let alter = format!("ALTER TABLE {} ALTER COLUMN note TYPE varchar(99)", pool.name);
    pool.cluster.execute(super::DATABASE, &alter).await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    let transaction = db.begin().await.unwrap();
    let error = text(&transaction, &sql).await.unwrap_err();
    assert_eq!(failure::sqlstate(&error).as_deref(), Some("0A000"));
    assert!(failure::is_unavailable(&error), "the statement was blamed for its session");
    assert!(transaction.rollback().await.is_err());
    drop(db);
    pool.expect_replaced(before).await;
    assert_eq!(text(&pool.acquire().await, &sql).await.unwrap(), "kept");
}

#[tokio::test]
async fn statements_that_the_session_has_forgotten_are_run_once_on_another_connection() {
    let pool = TestPool::open().await;
    let sql = format!("{} RETURNING note", pool.note("once")).replace("'once'", "$1::text");
    let insert = async |note: &str| {
        let db = pool.acquire().await;
        let values = [note.into()];
        let statement = Statement::from_sql_and_values(sea_orm::DbBackend::Postgres, &sql, values);
        db.query_one_raw(statement).await.map(|row| row.is_some())
    };
    assert_eq!(insert("first").await, Ok(true));
    let before = pool.expect_clean_lease().await;
    pool.acquire().await.execute_unprepared("DEALLOCATE ALL").await.unwrap();
    assert_eq!(insert("second").await, Ok(true));
    assert_ne!(pool.expect_clean_lease().await, before);
    assert_eq!(pool.notes().await, ["first", "second"]);
}

/// As after a failover: the old server lives on as a replica, and the connections to it with it.
#[tokio::test]
async fn a_session_that_has_become_read_only_is_replaced_once_and_not_again_and_again() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let first = backend(&db).await;
    db.execute_unprepared("SET default_transaction_read_only = on").await.unwrap();
    db.execute_unprepared(&pool.note("written")).await.unwrap();
    let second = backend(&db).await;
    assert_ne!(second, first);
    assert_eq!(pool.notes().await, ["written"]);
    db.execute_unprepared("SET default_transaction_read_only = on").await.unwrap();
    let error = db.execute_unprepared(&pool.note("refused")).await.unwrap_err();
    assert_eq!(failure::sqlstate(&error).as_deref(), Some("25006"));
    assert!(failure::is_unavailable(&error));
    assert_eq!(
        backend(&db).await,
        second,
        "a server that is read-only costs a connection each time"
    );
}

#[tokio::test]
async fn a_transaction_that_meets_a_read_only_server_ends_its_session() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    db.execute_unprepared("SET default_transaction_read_only = on").await.unwrap();
    let transaction = db.begin().await.unwrap();
    let error = transaction.execute_unprepared(&pool.note("refused")).await.unwrap_err();
    assert_eq!(failure::sqlstate(&error).as_deref(), Some("25006"));
    assert!(transaction.rollback().await.is_err());
    drop(db);
    pool.expect_replaced(before).await;
}

#[derive(Clone, Copy, Debug)]
enum First {
    Read,
    UnpreparedRead,
    Write,
    PreparedWrite,
    Transaction,
}

async fn run(pool: &TestPool, first: First) -> Result<(), DbErr> {
    let db = pool.acquire().await;
    match first {
        First::Read => text(&db, "SELECT 'read'").await.map(drop),
        First::UnpreparedRead => db.execute_unprepared("SELECT 'read'").await.map(drop),
        First::Write => db.execute_unprepared(&pool.note("written")).await.map(drop),
        First::PreparedWrite => {
            text(&db, &format!("{} RETURNING note", pool.note("written"))).await.map(drop)
        }
        First::Transaction => {
            let transaction = db.begin().await?;
            transaction.execute_unprepared(&pool.note("written")).await?;
            transaction.commit().await
        }
    }
}

#[rstest]
#[case::read(First::Read)]
#[case::unprepared(First::UnpreparedRead)]
#[case::write(First::Write)]
#[case::prepared_write(First::PreparedWrite)]
#[case::transaction(First::Transaction)]
#[tokio::test]
async fn idle_connections_that_were_ended_cost_nobody_anything(#[case] first: First) {
    let pool = TestPool::open_with(limits(3), |options| options).await;
    prepare_everywhere(&pool, 3, "SELECT 'warm'").await;
    end_all(&pool).await;
    a_moment().await;
    run(&pool, first).await.unwrap();
    let written = !matches!(first, First::Read | First::UnpreparedRead);
    assert_eq!(pool.notes().await.len(), usize::from(written));
}

#[tokio::test]
async fn a_holder_that_pauses_goes_on_though_its_connection_was_ended() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let before = backend(&db).await;
    pool.terminate(before).await;
    assert_eq!(text(&db, "SELECT 'mine'").await.unwrap(), "mine");
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared(&pool.note("written")).await.unwrap();
    transaction.commit().await.unwrap();
    drop(db);
    assert_eq!(pool.notes().await, ["written"]);
    pool.expect_replaced(before).await;
}

#[rstest]
#[case::write(
    "INSERT INTO {notes} SELECT nextval('{notes}_runs')::text FROM pg_terminate_backend(pg_backend_pid())"
)]
#[case::read_that_writes(
    "SELECT nextval('{notes}_runs')::text FROM pg_terminate_backend(pg_backend_pid())"
)]
#[tokio::test]
async fn a_statement_that_may_have_written_is_never_repeated(#[case] sql: &str) {
    let pool = TestPool::open().await;
    pool.cluster.execute(super::DATABASE, &format!("CREATE SEQUENCE {}_runs", pool.name)).await;
    let db = pool.acquire().await;
    let sql = sql.replace("{notes}", &pool.name);
    let error = text(&db, &sql).await.unwrap_err();
    assert_eq!(failure::sqlstate(&error).as_deref(), Some("57P01"));
    drop(db);
    assert_eq!(
        pool.texts(&format!("SELECT last_value::text FROM {}_runs", pool.name)).await,
        ["1"]
    );
    assert!(pool.notes().await.is_empty());
}

#[tokio::test]
async fn a_statement_of_a_transaction_is_never_repeated() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    let transaction = db.begin().await.unwrap();
    let before: i32 = value(&transaction, "SELECT pg_backend_pid()").await.unwrap();
    pool.terminate(before).await;
    assert!(failure::is_unavailable(&text(&transaction, "SELECT 'mine'").await.unwrap_err()));
    assert!(transaction.commit().await.is_err());
    assert!(text(&db, "SELECT 'mine'").await.is_err());
    drop(db);
    pool.expect_replaced(before).await;
}

#[tokio::test]
async fn a_pool_that_is_ended_by_force_opens_nothing_anew_for_its_holders() {
    let pool = TestPool::open().await;
    let db = pool.acquire().await;
    backend(&db).await;
    pool.pool.end_sessions().await.unwrap();
    assert!(text(&db, "SELECT 'mine'").await.is_err(), "the holder got another connection");
    assert_eq!(pool.connections_on_server().await, 0);
}

#[tokio::test]
async fn the_sqlstate_of_an_error_says_whether_its_session_goes_on() {
    let pool = TestPool::open().await;
    let raise = |code: &str| format!("DO $$ BEGIN RAISE 'x' USING ERRCODE = '{code}'; END $$");
    for code in ["0A000", "22012", "23505", "40001", "42501", "55P02", "55P03", "P0001"] {
        let before = pool.expect_clean_lease().await;
        let error = pool.acquire().await.execute_unprepared(&raise(code)).await.unwrap_err();
        assert_eq!(failure::sqlstate(&error).as_deref(), Some(code));
        assert_eq!(pool.expect_clean_lease().await, before, "{code} ended the session");
    }
    let ending = ["08006", "25001", "25P02", "28000", "3B001", "53100", "57014", "58030", "F0000"];
    for code in ending.into_iter().chain(["26000", "42P05", "XX000", "XX001"]) {
        let before = pool.expect_clean_lease().await;
        let error = pool.acquire().await.execute_unprepared(&raise(code)).await.unwrap_err();
        assert_eq!(failure::sqlstate(&error).as_deref(), Some(code));
        assert_ne!(pool.expect_clean_lease().await, before, "{code} did not end the session");
    }
}
