//! The state that a connection and its transactions share: the owner of the socket, and one
//! exchange with the server at a time. An exchange that the server provably did not execute is
//! tried once more, on another connection of the pool.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sea_orm::{DbErr, RuntimeErr, Statement, Value, Values};
use sea_query_sqlx::SqlxValues;
use sqlx::postgres::{PgConnection, PgQueryResult, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr, SqlStr};
use tokio::sync::{Mutex, MutexGuard};

use super::connection_source::ConnectionSource;
use super::failure::{self, Verdict};

/// A connection that worked this recently gets a write without a ping. A ping costs a round trip,
/// and reads need none because they are repeated.
const FRESH_FOR: Duration = Duration::from_millis(1);
/// A session that was dead before the statement came fails within a round trip. A session that
/// fails later may have been ended because of the statement.
const DEAD_ON_ARRIVAL: Duration = Duration::from_millis(500);

struct State {
    source: ConnectionSource,
    /// Open transactions, nested ones included.
    depth: usize,
    /// The server refuses every further statement of the transaction, and would answer COMMIT with
    /// a rollback.
    failed: bool,
    /// The transaction was begun as read-only, so a refused write says nothing about the server.
    reads_only: bool,
}

/// The state that a connection and its transactions share. When the last of them is dropped, the
/// socket goes back first, then the scope is dropped.
pub(super) struct Session<S> {
    state: Mutex<State>,
    dirty: Arc<AtomicBool>,
    pub(super) scope: S,
}

impl<S> Session<S> {
    pub(super) fn new(source: ConnectionSource, scope: S) -> Self {
        let dirty = source.uncertain_mark();
        let state = Mutex::new(State { source, depth: 0, failed: false, reads_only: false });
        Self { state, dirty, scope }
    }

    /// Marks the session as dirty: no further operation may start, and the socket is closed.
    pub(super) fn give_up(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    async fn start(&self, depth: usize) -> Result<Operation<'_>, DbErr> {
        let state = self.state.lock().await;
        if self.dirty.load(Ordering::Acquire) {
            return Err(DbErr::Conn(RuntimeErr::Internal(
                "the connection broke in an earlier operation".to_owned(),
            )));
        }
        if state.depth != depth {
            return Err(DbErr::Custom(
                "a statement beside an open transaction of the same connection".to_owned(),
            ));
        }
        self.dirty.store(true, Ordering::Release);
        Ok(Operation { state, dirty: &self.dirty })
    }

    /// Runs one statement at this depth of transactions.
    pub(super) async fn run<E: Exchange>(
        &self,
        depth: usize,
        exchange: E,
    ) -> Result<E::Output, DbErr> {
        self.start(depth).await?.run(exchange).await.map_err(query_error)
    }

    pub(super) async fn begin(&self, depth: usize, sql: String) -> Result<(), DbErr> {
        let mut operation = self.start(depth).await?;
        let reads_only = sql.contains("READ ONLY");
        operation.run(Simple(sql)).await.map_err(query_error)?;
        let state = &mut operation.state;
        state.reads_only = reads_only || (state.depth > 0 && state.reads_only);
        state.depth += 1;
        state.failed = false;
        Ok(())
    }

    /// Ends the transaction. Returns `false` if a commit was requested and the failed transaction
    /// was rolled back.
    pub(super) async fn end(&self, depth: usize, commit: bool) -> Result<bool, DbErr> {
        let mut operation = self.start(depth).await?;
        let failed = operation.state.failed;
        let sql = match (commit && !failed, depth) {
            (true, 1) => "COMMIT".to_owned(),
            (true, _) => format!("RELEASE SAVEPOINT nested_{depth}"),
            (false, 1) => "ROLLBACK".to_owned(),
            (false, _) => format!("ROLLBACK TO SAVEPOINT nested_{depth}"),
        };
        operation.run(Simple(sql)).await.map_err(query_error)?;
        operation.state.depth -= 1;
        operation.state.failed = false;
        Ok(!(commit && failed))
    }
}

impl<S> Drop for Session<S> {
    fn drop(&mut self) {
        if self.state.get_mut().depth > 0 {
            self.dirty.store(true, Ordering::Release);
        }
    }
}

/// What a statement may do, judged by its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It reads, unless it calls a function that writes.
    Read,
    /// It begins a transaction and does nothing else.
    Begin,
    /// It may write.
    Write,
}

impl Kind {
    fn of(sql: &str) -> Self {
        let sql = sql.as_bytes().trim_ascii_start();
        let begins = |word: &[u8]| {
            sql.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        let is_followed = || sql.get(6).is_some_and(u8::is_ascii_whitespace);
        if begins(b"SELECT") && is_followed() {
            Self::Read
        } else if begins(b"BEGIN") && !sql.contains(&b';') {
            Self::Begin
        } else {
            Self::Write
        }
    }
}

/// One statement for the server, and the part of its answer that is wanted.
pub(super) trait Exchange: Clone + Send {
    type Output: Send;

    fn sql(&self) -> &str;

    fn on(
        self,
        socket: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Output, sqlx::Error>> + Send;
}

/// A prepared statement whose rows are returned.
#[derive(Clone)]
pub(super) struct Rows(pub Statement);

impl Exchange for Rows {
    type Output = Vec<PgRow>;

    fn sql(&self) -> &str {
        &self.0.sql
    }

    async fn on(self, socket: &mut PgConnection) -> Result<Vec<PgRow>, sqlx::Error> {
        prepared(self.0).fetch_all(socket).await
    }
}

/// A prepared statement whose first row is returned. The other rows are read too, because the
/// server's final status of the statement comes after them.
#[derive(Clone)]
pub(super) struct FirstRow {
    sql: SqlStr,
    values: Vec<Value>,
}

impl FirstRow {
    pub fn of(sql: &'static str, values: Vec<Value>) -> Self {
        Self { sql: sql.into_sql_str(), values }
    }
}

impl From<Statement> for FirstRow {
    fn from(Statement { sql, values, .. }: Statement) -> Self {
        let values = values.map(|values| values.0).unwrap_or_default();
        Self { sql: AssertSqlSafe(sql).into_sql_str(), values }
    }
}

impl Exchange for FirstRow {
    type Output = Option<PgRow>;

    fn sql(&self) -> &str {
        self.sql.as_str()
    }

    async fn on(self, socket: &mut PgConnection) -> Result<Option<PgRow>, sqlx::Error> {
        let values = SqlxValues(Values(self.values));
        sqlx::query_with(self.sql, values).fetch_optional(socket).await
    }
}

/// A prepared statement of which only the success is returned.
#[derive(Clone)]
pub(super) struct Effect(pub Statement);

impl Exchange for Effect {
    type Output = PgQueryResult;

    fn sql(&self) -> &str {
        &self.0.sql
    }

    async fn on(self, socket: &mut PgConnection) -> Result<PgQueryResult, sqlx::Error> {
        prepared(self.0).execute(socket).await
    }
}

/// A statement that is not prepared.
#[derive(Clone)]
pub(super) struct Simple(pub String);

impl Exchange for Simple {
    type Output = PgQueryResult;

    fn sql(&self) -> &str {
        &self.0
    }

    async fn on(self, socket: &mut PgConnection) -> Result<PgQueryResult, sqlx::Error> {
        socket.execute(AssertSqlSafe(self.0)).await
    }
}

fn prepared(statement: Statement) -> sqlx::query::Query<'static, sqlx::Postgres, SqlxValues> {
    let values = statement.values.unwrap_or(Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}

/// One exchange with the server. The connection is dirty from its start until it has succeeded.
struct Operation<'a> {
    state: MutexGuard<'a, State>,
    dirty: &'a Arc<AtomicBool>,
}

impl Operation<'_> {
    async fn run<E: Exchange>(&mut self, exchange: E) -> Result<E::Output, sqlx::Error> {
        if self.state.depth > 0 || !matches!(self.state.source, ConnectionSource::Pooled(..)) {
            let result = self.once(exchange).await;
            return self.settle(result);
        }
        let kind = Kind::of(exchange.sql());
        if kind == Kind::Write
            && self.state.source.rested() > FRESH_FOR
            && let Err(error) = self.look().await
        {
            // Only the ping was sent.
            return Box::pin(self.again(error, exchange)).await;
        }
        let again = exchange.clone();
        let sent = Instant::now();
        let error = match self.once(exchange).await {
            Ok(output) => return self.settle(Ok(output)),
            Err(error) => error,
        };
        match (self.judge(&error), kind) {
            (Verdict::Outdated, _) => Box::pin(self.again(error, again)).await,
            (Verdict::Dead, Kind::Begin) if sent.elapsed() < DEAD_ON_ARRIVAL => {
                Box::pin(self.again(error, again)).await
            }
            (Verdict::Dead, Kind::Read) if sent.elapsed() < DEAD_ON_ARRIVAL => {
                Box::pin(self.again(error, ReadOnly(again))).await
            }
            _ => self.settle(Err(error)),
        }
    }

    /// Applies our own time limit, because a server that has vanished silently ends no statement.
    async fn once<E: Exchange>(&mut self, exchange: E) -> Result<E::Output, sqlx::Error> {
        let limit = self.state.source.operation_timeout();
        let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        let exchange = exchange.on(self.state.source.socket());
        tokio::time::timeout(limit, exchange).await.map_err(silent)?
    }

    /// Pings the server on this session. Costs a round trip.
    async fn look(&mut self) -> Result<(), sqlx::Error> {
        self.once(Sign).await?;
        self.state.source.touch();
        Ok(())
    }

    /// Runs the exchange that failed with `error` once more, on another connection of the pool.
    /// Returns `error` if there is no such connection.
    async fn again<E: Exchange>(
        &mut self,
        error: sqlx::Error,
        exchange: E,
    ) -> Result<E::Output, sqlx::Error> {
        let verdict = self.judge(&error);
        if !matches!(verdict, Verdict::Dead | Verdict::Outdated) {
            return self.settle(Err(error));
        }
        self.state.source.learn(verdict);
        let source = std::mem::replace(&mut self.state.source, ConnectionSource::Nobody);
        let ConnectionSource::Pooled(mut dead, permit, pool) = source else { return Err(error) };
        dead.part_from_mark();
        drop(dead);
        let Ok(other) = pool.another(permit).await else { return Err(error) };
        self.state.source = other.into();
        self.state.source.adopt_mark(self.dirty);
        tracing::info!(%error, ?verdict, "a statement is run again on another connection");
        let result = self.once(exchange).await;
        match result {
            // The statement writes, so its first run may have had an effect.
            Err(again) if failure::verdict(&again) == Verdict::ReadOnly => self.settle(Err(error)),
            result => self.settle(result),
        }
    }

    fn judge(&self, error: &sqlx::Error) -> Verdict {
        match failure::verdict(error) {
            Verdict::OutOfTransaction if self.state.depth > 0 => Verdict::Sound,
            Verdict::OutOfTransaction => Verdict::Doubtful,
            Verdict::ReadOnly => {
                let is_asked_for = self.state.depth > 0 && self.state.reads_only;
                match !is_asked_for && self.state.source.is_due_for_renewal() {
                    true => Verdict::Outdated,
                    false => Verdict::Sound,
                }
            }
            verdict => verdict,
        }
    }

    /// Ends the operation: the session goes on, or stays dirty and is closed.
    fn settle<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if let Err(error) = &result {
            match self.judge(error) {
                Verdict::Sound => self.state.failed = self.state.depth > 0,
                verdict => {
                    self.state.source.learn(verdict);
                    return result;
                }
            }
        }
        self.state.source.touch();
        self.dirty.store(false, Ordering::Release);
        result
    }
}

/// A ping.
#[derive(Clone)]
struct Sign;

impl Exchange for Sign {
    type Output = ();

    fn sql(&self) -> &'static str {
        ""
    }

    async fn on(self, socket: &mut PgConnection) -> Result<(), sqlx::Error> {
        socket.ping().await
    }
}

/// A statement in a transaction in which the server refuses every write. If it succeeds, it has
/// written nothing, in this run and in the first.
#[derive(Clone)]
struct ReadOnly<E>(E);

impl<E: Exchange> Exchange for ReadOnly<E> {
    type Output = E::Output;

    fn sql(&self) -> &str {
        self.0.sql()
    }

    async fn on(self, socket: &mut PgConnection) -> Result<E::Output, sqlx::Error> {
        socket.execute("BEGIN READ ONLY").await?;
        let result = self.0.on(socket).await;
        socket.execute(if result.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
        result
    }
}

fn query_error(error: sqlx::Error) -> DbErr {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => {
            DbErr::Conn(RuntimeErr::SqlxError(error.into()))
        }
        _ => DbErr::Query(RuntimeErr::SqlxError(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("SELECT 1", Kind::Read)]
    #[case("SELECT\n  note FROM notes", Kind::Read)]
    #[case("\n  select note FROM notes", Kind::Read)]
    #[case("SELECTED", Kind::Write)]
    #[case("BEGIN", Kind::Begin)]
    #[case("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", Kind::Begin)]
    #[case("BEGIN; DROP TABLE notes", Kind::Write)]
    #[case("WITH w AS (SELECT 1) SELECT * FROM w", Kind::Write)]
    #[case("INSERT INTO notes VALUES ('SELECT 1')", Kind::Write)]
    #[case("é", Kind::Write)]
    fn a_statement_is_a_read_only_where_its_first_word_says_so(
        #[case] sql: &str,
        #[case] expected: Kind,
    ) {
        assert_eq!(Kind::of(sql), expected);
    }
}
