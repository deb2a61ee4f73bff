//! The control database: which tenants there are, where they live, how they are found, and what is owed to them.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DbErr, TransactionSession, TransactionTrait};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;
use uuid::Uuid;

use changes::Changes;

use crate::clock::Clock;
use crate::configuration::RegistrySettings;
use crate::identifiers::TenantId;
use crate::postgres::administration::{AdministrationError, Capacity, Server};
use crate::postgres::transport::Transport;
use crate::postgres::{
    CheckoutFailure, Connection, KEEPALIVES, Pool, PoolLimits, Scoped, Target, Transaction, failure,
};
use crate::sealing::{LookupHasher, Sealer, SealingError};

pub mod changes;
pub mod entities;
pub mod inbox;
pub mod people;
pub mod runs;
pub mod schema;
pub mod secrets;
pub mod tenants;

/// The key of the look-up hashes.
const LOOKUP_KEY: &str = "lookup_hash_key";
/// The key of the secrets in tenants' databases.
const TENANT_KEY: &str = "tenant_secrets_key";
/// How long anything waits for a registry connection, and for opening one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// A replica that was stopped in the middle of a transaction holds up the others no longer than this. Settling an
/// organization takes up to 12 s.
const IDLE_IN_TRANSACTION: &str = "20s";

/// Marks a connection as one to the registry. Only this room makes one.
pub struct RegistryScope(());

/// A connection to the registry.
pub type RegistryDb = Connection<RegistryScope>;
/// A transaction in the registry.
pub type RegistryTransaction = Transaction<RegistryScope>;

/// Takes back what was done in a transaction, so that its connection can be used again.
pub async fn roll_back(transaction: RegistryTransaction) -> Result<(), RegistryError> {
    Ok(transaction.rollback().await?)
}

/// What can go wrong with the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or had no connection free in time.
    #[error("the registry is not available: {0}")]
    Unavailable(String),
    /// `registry.url` is not a PostgreSQL URL.
    #[error("registry.url is not usable: {0}")]
    BadUrl(String),
    /// Somebody on the way to the registry could make its connections plain text.
    #[error(
        "registry.url leads over the network to `{0}` without a safe sslmode, so that anybody on the way could read \
         along: add `?sslmode=verify-full` (and `sslrootcert=FILE` for a private authority), or \
         `?sslmode=disable` if that network is yours alone"
    )]
    TalkedDown(String),
    /// The schema lacks migrations that this program needs.
    #[error("the registry's schema is behind; run `narthex migrate registry` ({} pending)", .0.join(", "))]
    SchemaBehind(Vec<String>),
    /// A statement failed.
    #[error("the registry refused a statement: {0}")]
    Statement(DbErr),
    /// A sealed value does not open.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// Roles or databases of the server could not be administered.
    #[error(transparent)]
    Administration(#[from] AdministrationError),
    /// An operator may not do any more what they began.
    #[error(transparent)]
    Lost(operators::Lost),
}

impl From<DbErr> for RegistryError {
    fn from(error: DbErr) -> Self {
        if failure::is_unavailable(&error) {
            Self::Unavailable(error.to_string())
        } else {
            Self::Statement(error)
        }
    }
}

impl From<CheckoutFailure> for RegistryError {
    fn from(failure: CheckoutFailure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}

/// Parses `registry.url`.
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

/// Refuses a way to the registry on which an intermediary could switch TLS off, and warns of a weaker one than
/// `sslmode=verify-full`. For `narthex serve`: tenants' data takes the same way.
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

/// The registry, open for use. Clones share its connections.
#[derive(Clone)]
pub struct Registry {
    pool: Pool,
    server: Server,
    database: String,
    process: String,
    outage_grace: Duration,
    sealer: Arc<Sealer>,
    tenant_sealer: Arc<Sealer>,
    hasher: Arc<LookupHasher>,
}

impl Registry {
    /// Connects, refuses a schema that is behind, and reads (at the very first start: makes) the key of the
    /// look-up hashes.
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
            gate: None,
            name: format!("narthex/{process}/registry"),
            enders: Arc::new(Semaphore::new(2)),
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
        let db = pool.lend(RegistryScope(())).await?;
        let key = secrets::system_config::kept_key(&db, &sealer, LOOKUP_KEY, clock).await?;
        let tenant_key = secrets::system_config::kept_key(&db, &sealer, TENANT_KEY, clock).await?;
        drop(db);
        Ok(Self {
            pool,
            process,
            outage_grace: settings.outage_grace,
            database: options.get_database().unwrap_or_default().to_owned(),
            server: Server::new(options, ACQUIRE_TIMEOUT),
            sealer,
            tenant_sealer: Arc::new(Sealer::with_key(&tenant_key)?),
            hasher: Arc::new(LookupHasher::new(&key)),
        })
    }

    /// Lends a connection, or says within 2 s that there is none.
    pub async fn connect(&self) -> Result<RegistryDb, RegistryError> {
        Ok(self.pool.lend(RegistryScope(())).await?)
    }

    /// Begins a transaction on a connection of its own.
    pub async fn begin(&self) -> Result<RegistryTransaction, RegistryError> {
        Ok(self.connect().await?.begin().await?)
    }

    /// Looks a tenant up that there is not, as requests look theirs up; 2 s without an answer are a no.
    pub async fn ping(&self) -> Result<(), RegistryError> {
        let answer = async {
            let db = self.connect().await?;
            tenants::find(&db, TenantId(Uuid::nil())).await?;
            Ok(())
        };
        let silent = |_| RegistryError::Unavailable("it did not answer in time".to_owned());
        tokio::time::timeout(ACQUIRE_TIMEOUT, answer).await.map_err(silent)?
    }

    /// Names this process among the connections of a server.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// How long known tenants are served while the registry does not answer.
    pub fn outage_grace(&self) -> Duration {
        self.outage_grace
    }

    /// Listens to what changes, on a connection of its own.
    pub async fn listen(&self) -> Result<Changes, RegistryError> {
        Changes::open(self.server.options_for(&self.database), ACQUIRE_TIMEOUT).await
    }

    /// What the server says of itself; asked of the server that the registry lies on.
    pub async fn capacity(&self) -> Result<Capacity, RegistryError> {
        let mut administration = self.server.administer().await?;
        let capacity = administration.capacity().await?;
        administration.close().await;
        Ok(capacity)
    }

    /// The server that the registry lies on.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What seals and opens the registry's secrets.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// What seals and opens the secrets that lie in tenants' databases. Its key is sealed in the registry: for a new master
    /// key no tenant needs to be visited.
    pub fn tenant_sealer(&self) -> &Sealer {
        &self.tenant_sealer
    }

    /// The keyed hashes by which emails and foreign phone numbers are known.
    pub fn hasher(&self) -> &LookupHasher {
        &self.hasher
    }
}

/// What the queries of this room run on: a connection or a transaction of the registry.
pub trait OnRegistry: Scoped<RegistryScope> {}
impl<T: Scoped<RegistryScope>> OnRegistry for T {}
