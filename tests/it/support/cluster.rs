//! One private cluster for all tests of the process, and further ones for tests that break theirs.

use std::path::PathBuf;
use std::sync::OnceLock;

use narthex::local_cluster::{ClusterOptions, LocalCluster};
use sea_orm_migration::MigratorTrait;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection};
use tenant_migrations::Migrator;

/// Where a cluster is reached.
#[derive(Clone, Debug)]
pub struct TestCluster {
    /// Of the maintenance database.
    url: String,
}

impl TestCluster {
    /// The address of a cluster that a test has started by itself.
    pub fn of(cluster: &LocalCluster) -> Self {
        Self { url: cluster.url("postgres") }
    }

    /// The superuser's URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("{}/{database}", self.url.rsplit_once('/').unwrap().0)
    }

    /// The superuser's connection options of a database.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        self.url(database).parse().unwrap()
    }

    /// A superuser's connection.
    pub async fn connect(&self, database: &str) -> PgConnection {
        PgConnection::connect_with(&self.options(database)).await.unwrap()
    }

    /// Runs statements as the superuser.
    pub async fn execute(&self, database: &str, sql: &str) {
        let mut connection = self.connect(database).await;
        connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The first column of a query, as texts.
    pub async fn texts(&self, database: &str, sql: &str) -> Vec<String> {
        let mut connection = self.connect(database).await;
        let rows = sqlx::query_scalar::<_, Option<String>>(sqlx::AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        rows.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Takes a tenant's schema back to what an older program has made: its first migrations alone.
    pub async fn age(&self, database: &str, first: u32) {
        let pool = PgPoolOptions::new().max_connections(1).connect_with(self.options(database));
        let pool = pool.await.unwrap();
        let db = sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
        let all = u32::try_from(Migrator::migrations().len()).unwrap();
        Migrator::down(&db, Some(all - first)).await.unwrap();
        db.close().await.unwrap();
    }

    /// One number.
    pub async fn count(&self, database: &str, sql: &str) -> i64 {
        let mut connection = self.connect(database).await;
        let count = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        count
    }
}

/// A directory that the server's unprivileged account may enter, directly below the system's one.
pub fn fresh_directory() -> PathBuf {
    std::env::temp_dir().join(format!("narthex-test-{}", uuid::Uuid::new_v4().simple()))
}

/// A cluster of a test's own: to be crashed and restarted.
pub async fn own_cluster() -> LocalCluster {
    let options =
        ClusterOptions { data_dir: fresh_directory(), durable: false, max_connections: 100 };
    LocalCluster::start(options).await.unwrap()
}

/// The cluster that all tests share. It lives in a runtime of its own, because the runtimes of the tests end with
/// them, and goes away with the process.
pub fn shared_cluster() -> TestCluster {
    static CLUSTER: OnceLock<TestCluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| {
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let options = ClusterOptions {
                        data_dir: fresh_directory(),
                        durable: false,
                        max_connections: 600,
                    };
                    let cluster = LocalCluster::start(options).await.unwrap();
                    sender.send(TestCluster::of(&cluster)).unwrap();
                    std::future::pending::<()>().await;
                });
            });
            receiver.recv().expect("the shared cluster could not be started")
        })
        .clone()
}
