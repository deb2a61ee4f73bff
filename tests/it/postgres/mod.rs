//! The connection type and its pools: whatever happens to an operation, the next request gets a connection that
//! answers its own question.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use narthex::postgres::{CheckoutFailure, Connection, Pool, PoolLimits, Target};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, TryGetable};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{OnceCell, Semaphore};

use crate::support::{TestCluster, eventually, shared_cluster, unique};

mod cancellation;
mod failures;
mod hammer;
mod nesting;
mod pool;
mod sessions;
mod transactions;

const DATABASE: &str = "postgres_room";

/// A pool with a table of its own, `notes (note text unique)`, in a database that these tests share.
pub struct TestPool {
    pool: Pool,
    cluster: TestCluster,
    /// Of the table, and the name by which the server knows the pool's connections.
    name: String,
}

/// The options of a connection to the shared database.
async fn options(cluster: &TestCluster) -> PgConnectOptions {
    static MADE: OnceCell<()> = OnceCell::const_new();
    MADE.get_or_init(async || {
        cluster.execute("postgres", &format!("CREATE DATABASE {DATABASE}")).await;
    })
    .await;
    cluster.options(DATABASE)
}

fn limits(max_connections: u32) -> PoolLimits {
    PoolLimits {
        max_connections,
        acquire_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
    }
}

fn target(options: PgConnectOptions) -> Target {
    Target {
        options,
        name: "narthex/test".to_owned(),
        admission_hook: None,
        termination_permits: Arc::new(Semaphore::new(1)),
        connect_timeout: Duration::from_secs(10),
        operation_timeout: Duration::from_secs(60),
        on_connect: None,
        signals: Arc::default(),
        renewals: Arc::default(),
    }
}

/// Counts the sessions of a pool by the name that its connections have.
fn count_sessions(name: &str) -> String {
    format!("SELECT count(*) FROM pg_stat_activity WHERE starts_with(application_name, '{name}/')")
}

impl TestPool {
    /// Of a single connection: whoever comes next gets what the last one left.
    async fn open() -> Self {
        Self::open_with(limits(1), |options| options).await
    }

    async fn open_with(
        limits: PoolLimits,
        change: impl FnOnce(PgConnectOptions) -> PgConnectOptions,
    ) -> Self {
        let cluster = shared_cluster();
        let options = options(&cluster).await;
        let name = format!("notes_{}", unique());
        let table =
            format!("CREATE TABLE {name} (note text UNIQUE DEFERRABLE INITIALLY IMMEDIATE)");
        cluster.execute(DATABASE, &table).await;
        let target = Target { name: name.clone(), ..target(change(options)) };
        Self { pool: Pool::open(target, &limits).await.unwrap(), cluster, name }
    }

    async fn acquire(&self) -> Connection<()> {
        self.pool.acquire(()).await.unwrap()
    }

    /// The statement that writes a note.
    fn note(&self, text: &str) -> String {
        format!("INSERT INTO {} VALUES ('{text}')", self.name)
    }

    /// All notes that others can see.
    async fn notes(&self) -> Vec<String> {
        self.texts(&format!("SELECT note FROM {} ORDER BY note", self.name)).await
    }

    /// Asks as the superuser.
    async fn texts(&self, sql: &str) -> Vec<String> {
        self.cluster.texts(DATABASE, sql).await
    }

    /// Ends a session from outside.
    async fn terminate(&self, backend: i32) {
        self.texts(&format!("SELECT pg_terminate_backend({backend}, 5000)::text")).await;
    }

    /// How many connections of this pool the server has.
    async fn connections_on_server(&self) -> i64 {
        self.cluster.count(DATABASE, &count_sessions(&self.name)).await
    }

    /// Takes the next lease, proves that it is clean and works, and says which server process is behind it.
    async fn expect_clean_lease(&self) -> i32 {
        let db = self.acquire().await;
        let tag = unique();
        assert_eq!(text(&db, &format!("SELECT '{tag}'")).await.unwrap(), tag);
        let backend = backend(&db).await;
        let state = format!("SELECT state FROM pg_stat_activity WHERE pid = {backend}");
        assert_eq!(self.texts(&state).await, ["idle"], "lent in the middle of something");
        backend
    }

    /// The connection behind the last lease is gone from the server, and the pool goes on with another.
    async fn expect_replaced(&self, backend: i32) {
        assert_ne!(
            self.expect_clean_lease().await,
            backend,
            "a doubtful connection was lent again"
        );
        eventually("the doubtful connection has left the server", async || {
            self.connections_on_server().await <= 1
        })
        .await;
    }
}

/// The first column of the only row.
async fn value<T: TryGetable>(db: &impl ConnectionTrait, sql: &str) -> Result<T, DbErr> {
    let statement = Statement::from_string(sea_orm::DbBackend::Postgres, sql);
    let row: QueryResult = db.query_one_raw(statement).await?.expect("a row");
    row.try_get_by_index(0)
}

async fn text(db: &impl ConnectionTrait, sql: &str) -> Result<String, DbErr> {
    value(db, sql).await
}

async fn backend(db: &impl ConnectionTrait) -> i32 {
    value(db, "SELECT pg_backend_pid()").await.unwrap()
}

/// Polls a future until it has been left waiting so many times, then drops it. `None`: it was dropped.
async fn polled<F: Future>(future: F, mut times: usize) -> Option<F::Output> {
    if times == 0 {
        return None;
    }
    let mut future = Box::pin(future);
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            times -= 1;
            if times == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(50), future).await.ok()
}
