//! One private cluster for all tests of the process, and further ones for tests that break theirs.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use local_cluster::{ClusterOptions, LocalCluster};
use sea_orm_migration::MigratorTrait;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection};
use tenant_migrations::Migrator;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

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

    /// Stores the superuser's password with one iteration instead of 4,096: at each of thousands of connections they
    /// would cost more than the rest of it.
    async fn cheapen_password(&self) {
        let (user, password) = self.url.split_once("://").unwrap().1.split_once(':').unwrap();
        let password = password.split_once('@').unwrap().0;
        let (salt, mut salted) = ([0; 16], [0; digest::SHA256_OUTPUT_LEN]);
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, NonZeroU32::MIN, &salt, password.as_bytes(), &mut salted);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
        let [salt, stored, server] =
            [&salt[..], stored.as_ref(), hmac::sign(&key, b"Server Key").as_ref()]
                .map(|bytes| STANDARD.encode(bytes));
        let verifier = format!("SCRAM-SHA-256$1:{salt}${stored}:{server}");
        self.execute("postgres", &format!("ALTER ROLE {user} PASSWORD '{verifier}'")).await;
    }

    /// `janitor`: a connection to the maintenance database.
    async fn drop_registry(
        &self,
        registry: &str,
        janitor: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        const ITS_DATABASES: &str = "SELECT datname FROM pg_database WHERE datname IN
            (SELECT database_name FROM tenants UNION ALL SELECT name FROM spare_databases)";
        let mut connection = PgConnection::connect_with(&self.options(registry)).await?;
        let mut databases: Vec<String> =
            sqlx::query_scalar(ITS_DATABASES).fetch_all(&mut connection).await?;
        connection.close().await?;
        databases.push(registry.to_owned());
        for database in databases {
            let drop = format!("DROP DATABASE IF EXISTS \"{database}\" WITH (FORCE)");
            janitor.execute(sqlx::AssertSqlSafe(drop)).await?;
        }
        Ok(())
    }

    /// The superuser's URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("{}?sslmode=disable", self.bare_url(database))
    }

    /// As [`TestCluster::url`], for tests that choose its parameters.
    pub fn bare_url(&self, database: &str) -> String {
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

/// A directory that the server's unprivileged account may enter: in memory where there is plenty, because hundreds of
/// databases are thousands of files; otherwise directly below the system's temporary one.
pub fn fresh_directory() -> PathBuf {
    let parent = if has_plenty_of_memory() { "/dev/shm".into() } else { std::env::temp_dir() };
    parent.join(format!("narthex-test-{}", uuid::Uuid::new_v4().simple()))
}

/// At least 12 GiB are available: the databases of a whole run take up to 6.
fn has_plenty_of_memory() -> bool {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.is_some_and(|kib| kib >= 12 << 20) && std::path::Path::new("/dev/shm").is_dir()
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
    shared().0.clone()
}

/// Drops a registry of the shared cluster and the databases that it names, while the tests go on.
pub fn discard(registry: String) {
    // The process may be ending.
    let _ = shared().1.send(registry);
}

fn shared() -> &'static (TestCluster, UnboundedSender<String>) {
    static CLUSTER: OnceLock<(TestCluster, UnboundedSender<String>)> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (discards, mut discarded) = unbounded_channel::<String>();
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
                let reached = TestCluster::of(&cluster);
                reached.cheapen_password().await;
                sender.send(reached.clone()).unwrap();
                let mut janitor = reached.connect("postgres").await;
                while let Some(registry) = discarded.recv().await {
                    // Some tests leave a registry that cannot be read.
                    let _ = reached.drop_registry(&registry, &mut janitor).await;
                }
            });
        });
        (receiver.recv().expect("the shared cluster could not be started"), discards)
    })
}
