//! A whole application on a registry of its own, serving real HTTP.

use std::sync::Mutex;
use std::time::Duration;

use narthex::access::Authenticator;
use narthex::accounts::Accounts;
use narthex::app::App;

use narthex::clock::Clock;
use narthex::configuration::{Argon2Settings, Settings};
use narthex::fleet::Fleet;
use narthex::http::Listeners;
use narthex::identifiers::{LineNumber, TenantId};
use narthex::lifecycle::Lifecycle;
use narthex::operators::Operators;
use narthex::provisioning::{Failpoints, Provisioner};
use narthex::registry::inbox::parked_events;
use narthex::registry::tenants::phone_numbers;
use narthex::registry::{Registry, schema};
use narthex::tenant_router::{TenantDb, TenantRouter};
use narthex::tenants::{Purges, Tenants};
use narthex::webhooks::clerk::ClerkWebhooks;
use narthex::webhooks::telnyx::TelnyxWebhooks;
use secrecy::SecretString;
use sqlx::{Connection, Executor, PgConnection};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

use super::cluster::{TestCluster, discard, shared_cluster};
use super::provider::Provider;

/// Changes to the settings of a test application.
pub type TestSettings = Box<dyn FnOnce(&mut Settings) + Send>;

/// A whole application, running.
pub struct TestApp {
    /// Without a slash at the end.
    pub url: String,
    /// Of the operations listener. Without a slash at the end.
    pub operations_url: String,
    /// Gives up after 30 s.
    pub client: reqwest::Client,
    pub cluster: TestCluster,
    /// Name of its registry's database.
    pub registry_database: String,
    pub settings: Settings,
    pub registry: Registry,
    pub router: TenantRouter,
    pub provisioner: Provisioner,
    pub fleet: Fleet,
    pub tenants: Tenants,
    pub purges: Purges,
    pub access: Authenticator,
    pub accounts: Accounts,
    pub operators: Operators,
    pub telnyx: TelnyxWebhooks,
    pub clerk: ClerkWebhooks,
    pub life: Lifecycle,
    /// The application's clock: can be moved.
    pub clock: Clock,
    /// Holds the key that the application believes.
    pub provider: Provider,
    /// Ends when the application has ended; `false` where something went wrong.
    pub served: tokio::task::JoinHandle<bool>,
    /// Its registry was made for it alone, and goes with it.
    owns_registry: bool,
    /// The superuser's connection to the registry, once there was one: many tests ask again and again.
    superuser: Mutex<Option<PgConnection>>,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.life.stop();
        if self.owns_registry {
            discard(self.registry_database.clone());
        }
    }
}

impl TestApp {
    /// On the shared cluster, with the default settings (and cheap password hashes).
    pub async fn start() -> Self {
        Self::start_with(Box::new(|_| {})).await
    }

    /// On the shared cluster, with some settings changed.
    pub async fn start_with(change: TestSettings) -> Self {
        let (cluster, database) = fresh_registry().await;
        let mut app = Self::open_registry(cluster, database, change).await;
        app.owns_registry = true;
        app
    }

    /// On a cluster of the test's own.
    pub async fn start_on(cluster: TestCluster, change: TestSettings) -> Self {
        let database = "registry".to_owned();
        schema::migrate(cluster.options(&database)).await.unwrap();
        Self::open_registry(cluster, database, change).await
    }

    /// A further replica on the same registry, with the same secrets.
    pub async fn replica(&self) -> Self {
        let settings = self.settings.clone();
        let change: TestSettings = Box::new(move |own| *own = settings);
        Self::open_registry(self.cluster.clone(), self.registry_database.clone(), change).await
    }

    /// On a registry that is migrated already.
    pub async fn open_registry(
        cluster: TestCluster,
        registry_database: String,
        change: TestSettings,
    ) -> Self {
        Self::open(cluster, registry_database, change, None).await
    }

    /// On the shared cluster, with provisioning that is interfered with, that of the jobs included.
    pub async fn interrupted(failpoints: Failpoints, change: TestSettings) -> Self {
        let (cluster, database) = fresh_registry().await;
        let mut app = Self::open(cluster, database, change, Some(failpoints)).await;
        app.owns_registry = true;
        app
    }

    async fn open(
        cluster: TestCluster,
        registry_database: String,
        change: TestSettings,
        failpoints: Option<Failpoints>,
    ) -> Self {
        let provider = Provider::generate();
        let mut settings = Settings::default();
        settings.registry.url = Some(SecretString::from(cluster.url(&registry_database)));
        settings.secrets.master_key =
            Some(SecretString::from(narthex::sealing::generate_master_key().unwrap()));
        settings.auth.argon2 = Argon2Settings { memory_kib: 64, iterations: 1, parallelism: 1 };
        settings.telnyx.public_key = Some(provider.public_key());
        settings.clerk.webhook_secret = Some(SecretString::from(super::CLERK_SECRET));
        settings.http.drain_delay = Duration::ZERO;
        // Eight tests at once make a registration slower than a quiet machine does.
        settings.provisioning.wait = Duration::from_secs(15);
        // Some tests do much between a head and its body. Who tests the pace of bodies says so.
        settings.http.body_silence = Duration::from_secs(60);
        settings.http.body_timeout = Duration::from_secs(60);
        // Hundreds of applications on one server: who wants spares says so.
        settings.provisioning.spares = 0;
        // All of them call from one address.
        settings.limits.enabled = false;
        // Who wants a second factor to be required says so.
        settings.auth.operator_mfa_required = false;
        change(&mut settings);
        let clock = Clock::system();
        let mut app = App::open(settings.clone(), clock.clone()).await.unwrap();
        if let Some(failpoints) = failpoints {
            app.provisioner = app.provisioner.with_failpoints(failpoints);
            app.clerk = app.clerk.provisioning_with(app.provisioner.clone());
        }
        let listeners = Listeners {
            public: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            operations: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        };
        let url = format!("http://{}", listeners.public.local_addr().unwrap());
        let operations_url = format!("http://{}", listeners.operations.local_addr().unwrap());
        let client = local_client().build().unwrap();
        Self {
            provider: provider.towards(&url, &client),
            url,
            operations_url,
            client,
            cluster,
            registry_database,
            settings,
            registry: app.registry.clone(),
            router: app.router.clone(),
            provisioner: app.provisioner.clone(),
            fleet: app.fleet.clone(),
            tenants: app.tenants.clone(),
            purges: app.purges.clone(),
            access: app.access.clone(),
            accounts: app.accounts.clone(),
            operators: app.operators.clone(),
            telnyx: app.telnyx.clone(),
            clerk: app.clerk.clone(),
            life: app.life.clone(),
            clock,
            served: tokio::spawn(app.serve(listeners)),
            owns_registry: false,
            superuser: Mutex::new(None),
        }
    }

    /// Gives a number to a tenant, as the command line does.
    pub async fn assign_number(&self, number: &str, tenant: TenantId) {
        let number: LineNumber = number.parse().unwrap();
        let db = self.registry.connect().await.unwrap();
        phone_numbers::assign(&db, &number, tenant, self.clock.now()).await.unwrap().unwrap();
        let hash = self.registry.hasher().phone_number(number.as_str());
        let history = phone_numbers::history(&db, &number).await.unwrap();
        let comes = |event| history.holder(event) == Some(tenant);
        parked_events::make_due(&db, hash, comes, self.clock.now()).await.unwrap();
    }

    /// A connection to a tenant's database by way of the router.
    pub async fn tenant_db(&self, tenant: TenantId) -> TenantDb {
        let tenant = self.router.directory().tenant(tenant).await.unwrap().unwrap();
        self.router.connect(&tenant).await.unwrap()
    }

    /// One number from the registry.
    pub async fn registry_count(&self, sql: &str) -> i64 {
        let mut connection = self.superuser().await;
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).persistent(false);
        let count = query.fetch_one(&mut connection).await.unwrap();
        *self.superuser.lock().unwrap() = Some(connection);
        count
    }

    /// Statements in the registry, as the superuser.
    pub async fn registry_execute(&self, sql: &str) {
        let mut connection = self.superuser().await;
        connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
        *self.superuser.lock().unwrap() = Some(connection);
    }

    /// The one that is kept, if nobody uses it and it works; otherwise a new one.
    async fn superuser(&self) -> PgConnection {
        let kept = self.superuser.lock().unwrap().take();
        if let Some(mut connection) = kept
            && connection.ping().await.is_ok()
        {
            return connection;
        }
        self.cluster.connect(&self.registry_database).await
    }
}

/// What every client of a test begins with: it calls loopback in clear text, so it reads no root certificates, which
/// would cost more than most tests do.
pub fn local_client() -> reqwest::ClientBuilder {
    narthex::outbound::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
}

/// The shared cluster, and a migrated registry on it that is nobody's yet.
async fn fresh_registry() -> (TestCluster, String) {
    let cluster = shared_cluster();
    let database = format!("registry_{}", uuid::Uuid::new_v4().simple());
    let template = registry_template(&cluster).await;
    // Without syncing, a copy of files takes less than half the work of a copy through the log.
    let copy = format!("CREATE DATABASE {database} TEMPLATE {template} STRATEGY FILE_COPY");
    cluster.execute("postgres", &copy).await;
    (cluster, database)
}

/// A migrated registry to copy: a test then costs milliseconds.
async fn registry_template(cluster: &TestCluster) -> &'static str {
    static MADE: OnceCell<()> = OnceCell::const_new();
    const NAME: &str = "registry_template";
    MADE.get_or_init(async || {
        schema::migrate(cluster.options(NAME)).await.unwrap();
    })
    .await;
    NAME
}

/// Asks again and again until the answer is yes; fails the test after 30 s.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not come to pass within 30 s: {what}");
}
