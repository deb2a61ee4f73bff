//! The open registry: its pool, its keys and its server.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{TransactionSession, TransactionTrait};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::changes::Changes;
use super::error::RegistryError;
use super::schema;
use super::scope::{ACQUIRE_TIMEOUT, RegistryDb, RegistryScope, RegistryTransaction};
use super::secrets::system_config;
use super::tenants;
use crate::clock::Clock;
use crate::configuration::RegistrySettings;
use crate::identifiers::TenantId;
use crate::postgres::administration::{AdminServer, Capacity};
use crate::postgres::transport::Transport;
use crate::postgres::{KEEPALIVES, Pool, PoolLimits, Target};
use crate::sealing::{LookupHasher, Sealer};

/// The name of the key for the look-up hashes.
const LOOKUP_KEY: &str = "lookup_hash_key";
/// The name of the key for the secrets in tenants' databases.
const TENANT_KEY: &str = "tenant_secrets_key";
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// A replica that was stopped in the middle of a transaction blocks the others no longer than this.
/// Reconciling an organization takes up to 12 s.
const IDLE_IN_TRANSACTION: &str = "20s";

/// Parses `registry.url`. Fails if it is not a PostgreSQL URL.
pub fn parse_url(url: &SecretString) -> Result<PgConnectOptions, RegistryError> {
    let url = url.expose_secret();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(RegistryError::BadUrl("it does not begin with postgres://".to_owned()));
    }
    let options =
        PgConnectOptions::from_str(url).map_err(|e| RegistryError::BadUrl(e.to_string()))?;
    if PgConnectOptions::new_without_pgpass().get_options().is_some() {
        return Err(RegistryError::BadUrl(
            "PGOPTIONS is set and would reach every connection, the tenants' included; \
             unset it, and write what you need into the URL (`?options[name]=value`)"
                .to_owned(),
        ));
    }
    if options.get_database().is_none() {
        return Err(RegistryError::BadUrl("it names no database".to_owned()));
    }
    Ok(options.application_name("narthex"))
}

/// Refuses a registry connection on which an attacker in between could switch TLS off. Logs a
/// warning if it is weaker than `sslmode=verify-full`. For `narthex serve`: tenants' data takes the
/// same path.
pub fn require_safe_transport(url: &SecretString) -> Result<(), RegistryError> {
    let options = parse_url(url)?;
    let host = options.get_host();
    let transport = Transport::of(&options);
    if transport == Transport::TalkedDown {
        return Err(RegistryError::TalkedDown(host.to_owned()));
    }
    let Some(weakness) = transport.weakness() else { return Ok(()) };
    tracing::warn!(
        host,
        "the connection to the registry is not safe on a network: {weakness}; \
         set sslmode=verify-full in registry.url"
    );
    Ok(())
}

/// The open registry. Clones share it and cost only a counter.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    server: AdminServer,
    database: String,
    process: String,
    outage_grace: Duration,
    sealer: Arc<Sealer>,
    tenant_sealer: Sealer,
    hasher: LookupHasher,
}

impl Registry {
    /// Connects, refuses an outdated schema, and reads the key of the look-up hashes. The first
    /// start creates that key.
    pub async fn open(
        settings: &RegistrySettings,
        url: &SecretString,
        sealer: Arc<Sealer>,
        clock: &Clock,
    ) -> Result<Self, RegistryError> {
        let options = parse_url(url)?;
        let process = Uuid::new_v4().simple().to_string()[..8].to_owned();
        schema::require_current(options.clone()).await?;
        let target = Target {
            options: options
                .clone()
                .options([
                    ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
                    ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION.to_owned()),
                ])
                .options(KEEPALIVES),
            connect_timeout: ACQUIRE_TIMEOUT,
            operation_timeout: STATEMENT_TIMEOUT + Duration::from_secs(1),
            on_connect: None,
            admission_hook: None,
            name: format!("narthex/{process}/registry"),
            termination_permits: Arc::new(Semaphore::new(2)),
            signals: Arc::default(),
            renewals: Arc::default(),
        };
        let limits = PoolLimits {
            max_connections: settings.max_connections,
            acquire_timeout: ACQUIRE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
        };
        let pool = Pool::open(target, &limits)
            .await
            .map_err(|e| RegistryError::Unavailable(e.to_string()))?;
        let db = pool.acquire(RegistryScope(())).await?;
        let key = system_config::kept_key(&db, &sealer, LOOKUP_KEY, clock).await?;
        let tenant_key = system_config::kept_key(&db, &sealer, TENANT_KEY, clock).await?;
        drop(db);
        let inner = Inner {
            pool,
            process,
            outage_grace: settings.outage_grace,
            database: options.get_database().unwrap_or_default().to_owned(),
            server: AdminServer::new(options, ACQUIRE_TIMEOUT),
            sealer,
            tenant_sealer: Sealer::with_key(&tenant_key)?,
            hasher: LookupHasher::new(&key),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Acquires a connection, or fails within 2 s if none is free.
    pub async fn connect(&self) -> Result<RegistryDb, RegistryError> {
        Ok(self.inner.pool.acquire(RegistryScope(())).await?)
    }

    /// Begins a transaction on a connection of its own.
    pub async fn begin(&self) -> Result<RegistryTransaction, RegistryError> {
        Ok(self.connect().await?.begin().await?)
    }

    /// Runs `work` in a transaction on a connection of its own. Commits if `work` returns `Ok`, and
    /// rolls back if it fails.
    pub async fn transaction<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFnOnce(&RegistryTransaction) -> Result<T, E>,
        E: From<RegistryError>,
    {
        let transaction = self.begin().await?;
        // Boxed, as in `Transaction::run`.
        match Box::pin(work(&transaction)).await {
            Ok(done) => {
                transaction.commit().await.map_err(RegistryError::from)?;
                Ok(done)
            }
            Err(error) => {
                transaction.rollback().await.map_err(RegistryError::from)?;
                Err(error)
            }
        }
    }

    /// Looks up a tenant that does not exist, with the same query as a request. Fails after 2 s
    /// without an answer.
    pub async fn ping(&self) -> Result<(), RegistryError> {
        let answer = async {
            let db = self.connect().await?;
            tenants::find(&db, TenantId(Uuid::nil())).await?;
            Ok(())
        };
        let silent = |_| RegistryError::Unavailable("it did not answer in time".to_owned());
        tokio::time::timeout(ACQUIRE_TIMEOUT, answer).await.map_err(silent)?
    }

    /// The name of this process among the connections of a server.
    pub fn process(&self) -> &str {
        &self.inner.process
    }

    /// The ownership tag for everything that this installation creates on database servers.
    pub fn mark(&self) -> String {
        format!("narthex {}", self.inner.hasher.installation())
    }

    /// How long cached tenants are served while the registry does not answer.
    pub fn outage_grace(&self) -> Duration {
        self.inner.outage_grace
    }

    /// Listens to changes, on a connection of its own.
    pub async fn listen(&self) -> Result<Changes, RegistryError> {
        Changes::open(self.inner.server.options_for(&self.inner.database), ACQUIRE_TIMEOUT).await
    }

    /// The number of connections that the registry's server accepts.
    pub async fn capacity(&self) -> Result<Capacity, RegistryError> {
        let mut administration = self.inner.server.administer().await?;
        let capacity = administration.capacity().await?;
        administration.close().await;
        Ok(capacity)
    }

    /// The server that holds the registry.
    pub fn server(&self) -> &AdminServer {
        &self.inner.server
    }

    /// Seals and opens the registry's secrets.
    pub fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }

    /// Seals and opens the secrets in tenants' databases. Its key is sealed in the registry, so a
    /// new master key needs no change in tenants' databases.
    pub fn tenant_sealer(&self) -> &Sealer {
        &self.inner.tenant_sealer
    }

    /// The keyed hashes of email addresses and of other parties' phone numbers.
    pub fn hasher(&self) -> &LookupHasher {
        &self.inner.hasher
    }
}
