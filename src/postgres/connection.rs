//! The connection that every query runs on. It speaks sea-orm's traits over a bare socket, and knows at every
//! moment whether the socket is in step with its server: an operation that was dropped in the middle, a
//! timeout, a protocol error or a transaction that nobody ended mark it, and a marked socket is closed.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult,
    RuntimeErr, Statement, TransactionError, TransactionOptions, TransactionSession,
    TransactionTrait,
};
use sea_query_sqlx::SqlxValues;
use sqlx::Executor as _;
use sqlx::postgres::PgConnection;
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit};

use super::failure::{self, ConnectFailure};
use super::physical::{Physical, Target};
use super::pool::Manager;

/// Who owns the socket: a pool that wants it back (and after it the turn of whoever comes next), or this connection
/// alone.
pub(super) enum Holder {
    Pooled(bb8::PooledConnection<'static, Manager>, #[expect(dead_code)] OwnedSemaphorePermit),
    Owned(Box<Physical>),
}

impl Deref for Holder {
    type Target = Physical;
    fn deref(&self) -> &Physical {
        match self {
            Self::Pooled(physical, _) => physical,
            Self::Owned(physical) => physical,
        }
    }
}

impl DerefMut for Holder {
    fn deref_mut(&mut self) -> &mut Physical {
        match self {
            Self::Pooled(physical, _) => physical,
            Self::Owned(physical) => physical,
        }
    }
}

struct State {
    holder: Holder,
    /// Open transactions, nested ones included.
    depth: usize,
    /// The server refuses every further statement of the transaction, and would answer COMMIT with a rollback.
    failed: bool,
}

/// What a connection and its transactions share. Dropped with the last of them: the socket goes back first,
/// then the scope.
struct Session<S> {
    state: Mutex<State>,
    uncertain: Arc<AtomicBool>,
    scope: S,
}

impl<S> Session<S> {
    async fn start(&self, depth: usize) -> Result<Operation<'_>, DbErr> {
        let state = self.state.lock().await;
        if self.uncertain.load(Ordering::Acquire) {
            return Err(DbErr::Conn(RuntimeErr::Internal(
                "the connection broke in an earlier operation".to_owned(),
            )));
        }
        if state.depth != depth {
            return Err(DbErr::Custom(
                "a statement beside an open transaction of the same connection".to_owned(),
            ));
        }
        self.uncertain.store(true, Ordering::Release);
        Ok(Operation { state, uncertain: &self.uncertain })
    }

    async fn begin(&self, depth: usize, sql: String) -> Result<(), DbErr> {
        let mut operation = self.start(depth).await?;
        let begun = operation.simple(sql).await;
        if begun.is_ok() {
            operation.state.depth += 1;
            operation.state.failed = false;
        }
        operation.finish(begun).map_err(query_error)
    }

    /// Ends the transaction; `false` where a commit was asked for and the failed transaction was rolled back.
    async fn end(&self, depth: usize, commit: bool) -> Result<bool, DbErr> {
        let mut operation = self.start(depth).await?;
        let failed = operation.state.failed;
        let sql = match (commit && !failed, depth) {
            (true, 1) => "COMMIT".to_owned(),
            (true, _) => format!("RELEASE SAVEPOINT nested_{depth}"),
            (false, 1) => "ROLLBACK".to_owned(),
            (false, _) => format!("ROLLBACK TO SAVEPOINT nested_{depth}"),
        };
        let ended = operation.simple(sql).await;
        if ended.is_ok() {
            operation.state.depth -= 1;
            operation.state.failed = false;
        }
        operation.finish(ended).map_err(query_error)?;
        Ok(!(commit && failed))
    }
}

impl<S> Drop for Session<S> {
    fn drop(&mut self) {
        if self.state.get_mut().depth > 0 {
            self.uncertain.store(true, Ordering::Release);
        }
    }
}

/// One exchange with the server. The connection counts as uncertain from its start until [`Operation::finish`].
struct Operation<'a> {
    state: MutexGuard<'a, State>,
    uncertain: &'a AtomicBool,
}

impl Operation<'_> {
    fn socket(&mut self) -> &mut PgConnection {
        self.state.holder.socket()
    }

    fn limit(&self) -> Duration {
        self.state.holder.operation_timeout()
    }

    async fn simple(&mut self, sql: String) -> Result<(), sqlx::Error> {
        let sql = sqlx::AssertSqlSafe(sql);
        let limit = self.limit();
        limited(limit, self.socket().execute(sql)).await.map(|_| ())
    }

    fn finish<T>(mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        match &result {
            Ok(_) => {}
            Err(error) if failure::leaves_connection_certain(error) => {
                self.state.failed = self.state.depth > 0;
            }
            Err(_) => return result,
        }
        self.state.holder.touch();
        self.uncertain.store(false, Ordering::Release);
        result
    }
}

/// A server that has vanished without a word ends no statement; we do.
async fn limited<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    tokio::time::timeout(limit, exchange).await.map_err(silent)?
}

fn query_error(error: sqlx::Error) -> DbErr {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => {
            DbErr::Conn(RuntimeErr::SqlxError(error.into()))
        }
        _ => DbErr::Query(RuntimeErr::SqlxError(error.into())),
    }
}

fn prepared(statement: Statement) -> sqlx::query::Query<'static, sqlx::Postgres, SqlxValues> {
    let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
    sqlx::query_with(sqlx::AssertSqlSafe(statement.sql), SqlxValues(values))
}

fn begin_sql(isolation: Option<IsolationLevel>, access: Option<AccessMode>) -> String {
    let mut sql = "BEGIN".to_owned();
    if let Some(isolation) = isolation {
        sql.push_str(&format!(" ISOLATION LEVEL {isolation}"));
    }
    if let Some(access) = access {
        sql.push_str(&format!(" {access}"));
    }
    sql
}

/// A connection that its holder has for itself. `S` is what it is a connection *of*: only the room that can make
/// an `S` can make the connection, so a function that takes `Connection<S>` cannot be given another's.
pub struct Connection<S: Send + Sync + 'static> {
    session: Arc<Session<S>>,
}

/// An open transaction of a [`Connection`]. Ended by `commit` or `rollback`; where neither happened the
/// connection is closed, and the server rolls back.
pub struct Transaction<S: Send + Sync + 'static> {
    session: Arc<Session<S>>,
    depth: usize,
    ended: bool,
}

impl<S: Send + Sync + 'static> Connection<S> {
    pub(super) fn new(holder: Holder, scope: S) -> Self {
        let uncertain = holder.uncertain_mark();
        let state = Mutex::new(State { holder, depth: 0, failed: false });
        Self { session: Arc::new(Session { state, uncertain, scope }) }
    }

    /// Opens a connection outside any pool.
    pub async fn open(target: &Arc<Target>, scope: S) -> Result<Self, ConnectFailure> {
        let physical = target.connect().await?;
        Ok(Self::new(Holder::Owned(Box::new(physical)), scope))
    }
}

impl<S: Send + Sync + 'static> Drop for Transaction<S> {
    fn drop(&mut self) {
        if !self.ended {
            self.session.uncertain.store(true, Ordering::Release);
        }
    }
}

/// A connection or a transaction of an `S`: what functions take that run queries in either.
pub trait Scoped<S>: ConnectionTrait + Send {
    /// What the queries run against.
    fn scope(&self) -> &S;
}

impl<S: Send + Sync + 'static> Scoped<S> for Connection<S> {
    fn scope(&self) -> &S {
        &self.session.scope
    }
}

impl<S: Send + Sync + 'static> Scoped<S> for Transaction<S> {
    fn scope(&self) -> &S {
        &self.session.scope
    }
}

/// Connections and transactions differ in their depth alone.
trait Place: Send + Sync {
    type Scope: Send + Sync + 'static;
    fn session(&self) -> &Arc<Session<Self::Scope>>;
    fn depth(&self) -> usize;
}

impl<S: Send + Sync + 'static> Place for Connection<S> {
    type Scope = S;
    fn session(&self) -> &Arc<Session<S>> {
        &self.session
    }
    fn depth(&self) -> usize {
        0
    }
}

impl<S: Send + Sync + 'static> Place for Transaction<S> {
    type Scope = S;
    fn session(&self) -> &Arc<Session<S>> {
        &self.session
    }
    fn depth(&self) -> usize {
        self.depth
    }
}

async fn execute(place: &impl Place, statement: Statement) -> Result<ExecResult, DbErr> {
    let mut operation = place.session().start(place.depth()).await?;
    let limit = operation.limit();
    let result = limited(limit, prepared(statement).execute(operation.socket())).await;
    operation.finish(result).map(ExecResult::from).map_err(query_error)
}

async fn execute_unprepared(place: &impl Place, sql: &str) -> Result<ExecResult, DbErr> {
    let mut operation = place.session().start(place.depth()).await?;
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    let limit = operation.limit();
    let result = limited(limit, operation.socket().execute(sql)).await;
    operation.finish(result).map(ExecResult::from).map_err(query_error)
}

/// Reads to the end even where one row is wanted, so that the server's last word on the statement is in.
async fn query(place: &impl Place, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
    let mut operation = place.session().start(place.depth()).await?;
    let limit = operation.limit();
    let result = limited(limit, prepared(statement).fetch_all(operation.socket())).await;
    let rows = operation.finish(result).map_err(query_error)?;
    Ok(rows.into_iter().map(QueryResult::from).collect())
}

async fn begin<P: Place>(
    place: &P,
    isolation: Option<IsolationLevel>,
    access: Option<AccessMode>,
) -> Result<Transaction<P::Scope>, DbErr> {
    let depth = place.depth() + 1;
    let sql = match depth {
        1 => begin_sql(isolation, access),
        nested => format!("SAVEPOINT nested_{nested}"),
    };
    place.session().begin(place.depth(), sql).await?;
    Ok(Transaction { session: place.session().clone(), depth, ended: false })
}

async fn run<S, F, T, E>(transaction: Transaction<S>, callback: F) -> Result<T, TransactionError<E>>
where
    S: Send + Sync + 'static,
    F: for<'c> FnOnce(
            &'c Transaction<S>,
        ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
        + Send,
    T: Send,
    E: std::fmt::Display + std::fmt::Debug + Send,
{
    match callback(&transaction).await {
        Ok(value) => {
            transaction.commit().await.map_err(TransactionError::Connection)?;
            Ok(value)
        }
        Err(error) => {
            transaction.rollback().await.map_err(TransactionError::Connection)?;
            Err(TransactionError::Transaction(error))
        }
    }
}

macro_rules! implement_traits {
    ($place:ident) => {
        #[async_trait::async_trait]
        impl<S: Send + Sync + 'static> ConnectionTrait for $place<S> {
            fn get_database_backend(&self) -> DbBackend {
                DbBackend::Postgres
            }

            async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
                execute(self, statement).await
            }

            async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
                execute_unprepared(self, sql).await
            }

            async fn query_one_raw(
                &self,
                statement: Statement,
            ) -> Result<Option<QueryResult>, DbErr> {
                Ok(query(self, statement).await?.into_iter().next())
            }

            async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
                query(self, statement).await
            }
        }

        #[async_trait::async_trait]
        impl<S: Send + Sync + 'static> TransactionTrait for $place<S> {
            type Transaction = Transaction<S>;

            async fn begin(&self) -> Result<Transaction<S>, DbErr> {
                begin(self, None, None).await
            }

            async fn begin_with_config(
                &self,
                isolation: Option<IsolationLevel>,
                access: Option<AccessMode>,
            ) -> Result<Transaction<S>, DbErr> {
                begin(self, isolation, access).await
            }

            async fn begin_with_options(
                &self,
                options: TransactionOptions,
            ) -> Result<Transaction<S>, DbErr> {
                begin(self, options.isolation_level, options.access_mode).await
            }

            async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
            where
                F: for<'c> FnOnce(
                        &'c Transaction<S>,
                    )
                        -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
                    + Send,
                T: Send,
                E: std::fmt::Display + std::fmt::Debug + Send,
            {
                self.transaction_with_config(callback, None, None).await
            }

            async fn transaction_with_config<F, T, E>(
                &self,
                callback: F,
                isolation: Option<IsolationLevel>,
                access: Option<AccessMode>,
            ) -> Result<T, TransactionError<E>>
            where
                F: for<'c> FnOnce(
                        &'c Transaction<S>,
                    )
                        -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
                    + Send,
                T: Send,
                E: std::fmt::Display + std::fmt::Debug + Send,
            {
                let transaction =
                    begin(self, isolation, access).await.map_err(TransactionError::Connection)?;
                run(transaction, callback).await
            }
        }
    };
}

implement_traits!(Connection);
implement_traits!(Transaction);

#[async_trait::async_trait]
impl<S: Send + Sync + 'static> TransactionSession for Transaction<S> {
    async fn commit(mut self) -> Result<(), DbErr> {
        let committed = self.session.end(self.depth, true).await?;
        self.ended = true;
        if committed {
            return Ok(());
        }
        Err(DbErr::Custom(
            "the transaction had failed and was rolled back instead of committed".to_owned(),
        ))
    }

    async fn rollback(mut self) -> Result<(), DbErr> {
        self.session.end(self.depth, false).await?;
        self.ended = true;
        Ok(())
    }
}
