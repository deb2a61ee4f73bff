//! The connection that every query runs on: sea-orm's traits on a bare socket. A cancelled
//! operation, a timeout, a protocol error or an unfinished transaction makes the connection dirty,
//! because its socket may be out of step with the server. A dirty socket is closed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult,
    Statement, TransactionError, TransactionOptions, TransactionSession, TransactionTrait, Value,
};

use super::connection_source::ConnectionSource;
use super::failure::ConnectFailure;
use super::pool::{Checkout, CheckoutFailure, Pool};
use super::raw_connection::Target;
use super::row::Row;
use super::session::{Effect, FirstRow, Rows, Session, Simple};

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

/// A connection with one holder. `S` is the scope: only the module that can make an `S` can make
/// the connection. A function that takes `Connection<S>` cannot be given a connection of another
/// scope.
pub struct Connection<S: Send + Sync + 'static> {
    session: Arc<Session<S>>,
}

/// An open transaction of a [`Connection`]. It ends with `commit` or `rollback`. Without either,
/// the connection is closed and the server rolls back.
pub struct Transaction<S: Send + Sync + 'static> {
    session: Arc<Session<S>>,
    depth: usize,
    ended: bool,
}

impl<S: Send + Sync + 'static> Connection<S> {
    pub(super) fn new(source: ConnectionSource, scope: S) -> Self {
        Self { session: Arc::new(Session::new(source, scope)) }
    }

    /// Opens a connection outside any pool.
    pub async fn open(target: &Arc<Target>, scope: S) -> Result<Self, ConnectFailure> {
        let raw_connection = target.connect().await?;
        Ok(Self::new(ConnectionSource::Owned(Box::new(raw_connection)), scope))
    }
}

impl Checkout {
    /// Gives the connection to the holder of `scope`. The scope is dropped after the connection
    /// went back.
    pub fn into_connection<S: Send + Sync + 'static>(self, scope: S) -> Connection<S> {
        Connection::new(self.into(), scope)
    }
}

impl Pool {
    /// Acquires a connection for the holder of `scope`, within the pool's own acquire timeout. The
    /// scope is dropped after the connection went back.
    pub async fn acquire<S: Send + Sync + 'static>(
        &self,
        scope: S,
    ) -> Result<Connection<S>, CheckoutFailure> {
        Ok(self.checkout_before(self.deadline()).await?.into_connection(scope))
    }
}

impl<S: Send + Sync + 'static> Transaction<S> {
    /// Runs `work` in this transaction. Commits if `work` returns `Ok`, and rolls back if it fails.
    /// If a rollback fails, the connection is closed and the rollback's error is returned instead
    /// of the other one.
    pub async fn run<T, E, F>(self, work: F) -> Result<T, E>
    where
        F: AsyncFnOnce(&Self) -> Result<T, E>,
        E: From<DbErr>,
    {
        // Boxed: with the work inside it, each caller's future would be too large for many a stack.
        match Box::pin(work(&self)).await {
            Ok(done) => {
                self.commit().await?;
                Ok(done)
            }
            Err(error) => {
                self.rollback().await?;
                Err(error)
            }
        }
    }
}

impl<S: Send + Sync + 'static> Drop for Transaction<S> {
    fn drop(&mut self) {
        if !self.ended {
            self.session.give_up();
        }
    }
}

/// A connection or a transaction of an `S`. Functions that run queries in either take this.
pub trait Scoped<S>: ConnectionTrait + Send {
    /// The scope of the queries.
    fn scope(&self) -> &S;

    /// The first row of a constant statement. It does not copy the text, for statements that run so
    /// often that each copy counts.
    fn first_row(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Option<Row>, DbErr>> + Send;
}

impl<S: Send + Sync + 'static> Scoped<S> for Connection<S> {
    fn scope(&self) -> &S {
        &self.session.scope
    }

    async fn first_row(&self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>, DbErr> {
        let row = self.session.run(0, FirstRow::of(sql, values)).await?;
        Ok(row.map(Row))
    }
}

impl<S: Send + Sync + 'static> Scoped<S> for Transaction<S> {
    fn scope(&self) -> &S {
        &self.session.scope
    }

    async fn first_row(&self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>, DbErr> {
        let row = self.session.run(self.depth, FirstRow::of(sql, values)).await?;
        Ok(row.map(Row))
    }
}

/// Implemented by connections and transactions, which differ only in their depth.
trait Executor: Send + Sync {
    type Scope: Send + Sync + 'static;
    fn session(&self) -> &Arc<Session<Self::Scope>>;
    fn depth(&self) -> usize;
}

impl<S: Send + Sync + 'static> Executor for Connection<S> {
    type Scope = S;
    fn session(&self) -> &Arc<Session<S>> {
        &self.session
    }
    fn depth(&self) -> usize {
        0
    }
}

impl<S: Send + Sync + 'static> Executor for Transaction<S> {
    type Scope = S;
    fn session(&self) -> &Arc<Session<S>> {
        &self.session
    }
    fn depth(&self) -> usize {
        self.depth
    }
}

async fn execute(executor: &impl Executor, statement: Statement) -> Result<ExecResult, DbErr> {
    executor.session().run(executor.depth(), Effect(statement)).await.map(ExecResult::from)
}

async fn execute_unprepared(executor: &impl Executor, sql: &str) -> Result<ExecResult, DbErr> {
    executor.session().run(executor.depth(), Simple(sql.to_owned())).await.map(ExecResult::from)
}

async fn begin<P: Executor>(
    executor: &P,
    isolation: Option<IsolationLevel>,
    access: Option<AccessMode>,
) -> Result<Transaction<P::Scope>, DbErr> {
    let depth = executor.depth() + 1;
    let sql = match depth {
        1 => begin_sql(isolation, access),
        nested => format!("SAVEPOINT nested_{nested}"),
    };
    executor.session().begin(executor.depth(), sql).await?;
    Ok(Transaction { session: executor.session().clone(), depth, ended: false })
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
    ($executor:ident) => {
        #[async_trait::async_trait]
        impl<S: Send + Sync + 'static> ConnectionTrait for $executor<S> {
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
                let row = self.session().run(self.depth(), FirstRow::from(statement)).await?;
                Ok(row.map(QueryResult::from))
            }

            async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
                let rows = self.session().run(self.depth(), Rows(statement)).await?;
                Ok(rows.into_iter().map(QueryResult::from).collect())
            }
        }

        #[async_trait::async_trait]
        impl<S: Send + Sync + 'static> TransactionTrait for $executor<S> {
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
