//! From a tenant's id to a connection to its own database: the directory knows who and where, the pools hold
//! what is open. A [`TenantDb`] can be had here and nowhere else, and proves whose it is when it is opened.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::configuration::RouterSettings;
use crate::identifiers::TenantId;
use crate::lifecycle::Lifecycle;
use crate::postgres::{ConnectFailure, Connection, Scoped, Transaction};
use crate::registry::tenants::{Status, Tenant};
use crate::registry::{Registry, RegistryError};

mod directory;
mod health;
mod identity;
mod pools;

pub use directory::Directory;
pub use health::{BreakerHealth, LastError, PoolHealth, PoolState, TenantHealth};
pub use identity::TENANT_GROUP;
pub use pools::{PoolEvent, RouterStatistics};

use pools::{Lease, Pools};

/// Marks a connection as one to this tenant's database. Only this room makes one.
pub struct TenantScope {
    tenant: Arc<Tenant>,
    _lease: Option<Lease>,
}

impl TenantScope {
    /// Whose database it is.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }
}

/// A connection to the database of one tenant.
pub type TenantDb = Connection<TenantScope>;
/// A transaction in the database of one tenant.
pub type TenantTransaction = Transaction<TenantScope>;

/// What queries on a tenant's data run on: a connection or a transaction of that tenant.
pub trait OnTenant: Scoped<TenantScope> {}
impl<T: Scoped<TenantScope>> OnTenant for T {}

/// Why a tenant's database cannot be used now. A busy pool is never reported as a dead database.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// There is no such tenant.
    #[error("there is no such tenant")]
    Unknown,
    /// An operator has locked the tenant.
    #[error("the tenant is suspended")]
    Suspended,
    /// The tenant has been deleted.
    #[error("the tenant is deleted")]
    Deleted,
    /// The tenant's database is still being made.
    #[error("the tenant is being made")]
    Provisioning,
    /// The tenant could not be made.
    #[error("the tenant could not be made")]
    Failed,
    /// The tenant's database lacks migrations that this program needs.
    #[error("the tenant's schema is older than this program supports")]
    SchemaOutdated,
    /// Every open pool is in use and no further one may be opened.
    #[error("every open tenant is in use")]
    Saturated,
    /// Every connection of the tenant's pool is in use.
    #[error("every connection of the tenant is in use")]
    PoolBusy,
    /// The tenant's database cannot be reached, or is not the one it should be.
    #[error("the tenant's database is not available: {0}")]
    Unavailable(ConnectFailure),
    /// The registry, which knows where the tenant is, cannot be asked.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// The oldest tenant schema this program can work with: the newest migration without which a statement of ours
/// fails. Migration names begin with their date, so that they sort by age.
const OLDEST_SUPPORTED_SCHEMA: &str = "m20261120_000001_create_tenant";

struct Inner {
    directory: Directory,
    pools: Pools,
    registry: Registry,
    settings: RouterSettings,
}

/// The router. Clones share everything.
#[derive(Clone)]
pub struct TenantRouter {
    inner: Arc<Inner>,
}

impl TenantRouter {
    /// A router with nothing open yet. Its reaper ends with `life`.
    pub fn new(
        registry: Registry,
        settings: RouterSettings,
        life: &Lifecycle,
        clock: Clock,
    ) -> Self {
        let inner = Arc::new(Inner {
            directory: Directory::new(registry.clone(), settings.directory_ttl, clock),
            pools: Pools::new(&settings),
            registry,
            settings,
        });
        let router = Self { inner };
        router.spawn_reaper(life);
        router
    }

    /// Who is who, and who holds which number.
    pub fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// What is open, and why it was opened and closed.
    pub fn statistics(&self) -> RouterStatistics {
        self.inner.pools.statistics()
    }

    /// Lends a connection to a tenant's database. One deadline, `router.acquire_timeout`, covers all of it:
    /// finding room among the open pools, opening the pool, and waiting for a connection.
    pub async fn connect(&self, tenant: &Arc<Tenant>) -> Result<TenantDb, RouterError> {
        let deadline = Instant::now() + self.inner.settings.acquire_timeout;
        self.admit(tenant)?;
        let target = || identity::target(&self.inner.registry, tenant, &self.inner.settings);
        let (lease, pool) = self.inner.pools.lease(tenant, deadline, target).await?;
        let scope = TenantScope { tenant: tenant.clone(), _lease: Some(lease) };
        pool.lend_before(scope, deadline).await.map_err(|failure| match failure {
            crate::postgres::CheckoutFailure::Busy => RouterError::PoolBusy,
            crate::postgres::CheckoutFailure::Connect(failure) => RouterError::Unavailable(failure),
        })
    }

    /// A connection outside the pools, for making a tenant that is not active yet. The identity is proven all
    /// the same.
    pub async fn connect_for_provisioning(&self, id: TenantId) -> Result<TenantDb, RouterError> {
        let db = self.inner.registry.connect().await?;
        let tenant = crate::registry::tenants::find(&db, id).await?.ok_or(RouterError::Unknown)?;
        drop(db);
        let target = identity::target(&self.inner.registry, &tenant, &self.inner.settings)?;
        let scope = TenantScope { tenant: Arc::new(tenant), _lease: None };
        Connection::open(&target, scope).await.map_err(RouterError::Unavailable)
    }

    /// What a tenant's status and schema allow is decided before a connection is taken.
    pub fn admit(&self, tenant: &Tenant) -> Result<(), RouterError> {
        match tenant.status {
            Status::Active => {}
            Status::Suspended => return Err(RouterError::Suspended),
            Status::Deleted | Status::Purging | Status::Purged => return Err(RouterError::Deleted),
            Status::Pending | Status::Provisioning => return Err(RouterError::Provisioning),
            Status::Failed => return Err(RouterError::Failed),
        }
        if tenant.schema_version.as_str() < OLDEST_SUPPORTED_SCHEMA {
            return Err(RouterError::SchemaOutdated);
        }
        Ok(())
    }

    fn spawn_reaper(&self, life: &Lifecycle) {
        let idle_timeout = self.inner.settings.idle_timeout;
        let period = (idle_timeout / 4).clamp(Duration::from_millis(25), Duration::from_secs(5));
        let (inner, stopping) = (self.inner.clone(), life.clone());
        life.spawn("pool reaper", async move {
            loop {
                tokio::select! {
                    () = stopping.stopping() => break,
                    () = tokio::time::sleep(period) => inner.pools.retire_idle(idle_timeout),
                }
            }
        });
    }

    /// Retires every pool, as the last act before the process ends; leases still out keep theirs.
    pub fn close(&self) {
        self.inner.pools.retire_all();
    }
}
