//! From a tenant's id to a connection to its own database: the directory knows who and where, the pools hold
//! what is open. A [`TenantDb`] can be had here and nowhere else, and proves whose it is when it is opened.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::configuration::RouterSettings;
use crate::identifiers::TenantId;
use crate::lifecycle::Lifecycle;
use crate::postgres::{CheckoutFailure, ConnectFailure, Connection, Scoped, Target, Transaction};
use crate::registry::tenants::database_servers::DatabaseServer;
use crate::registry::tenants::{Status, Tenant};
use crate::registry::{Registry, RegistryError};

mod address;
mod administering;
mod breaker;
mod budget;
mod directory;
mod following;
mod gatekeeper;
mod hosts;
mod identity;
mod pools;
mod reasons;
mod shelf;
mod statistics;

pub use breaker::{BreakerState, Trouble};
pub use budget::BudgetUse;
pub use directory::{Directory, DirectoryStatistics};
pub use gatekeeper::BudgetError;
pub use hosts::HostName;
pub use identity::TENANT_GROUP;
pub use pools::PoolView;
pub use reasons::{PoolEvent, Refusal};
pub use statistics::{RouterStatistics, ServerStatistics};

use address::Addresses;
use budget::Reclaim;
use gatekeeper::Gatekeeper;
use pools::Pools;
use reasons::Counters;
use shelf::{Lease, Shelf};

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

impl RouterError {
    fn of_connect(failure: ConnectFailure) -> Self {
        match failure {
            ConnectFailure::NoPermit => Self::Saturated,
            failure => Self::Unavailable(failure),
        }
    }

    /// The same, to be counted.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Unknown => Refusal::Unknown,
            Self::Suspended => Refusal::Suspended,
            Self::Deleted => Refusal::Deleted,
            Self::Provisioning => Refusal::Provisioning,
            Self::Failed => Refusal::Failed,
            Self::SchemaOutdated => Refusal::SchemaOutdated,
            Self::Saturated => Refusal::Saturated,
            Self::PoolBusy => Refusal::PoolBusy,
            Self::Unavailable(ConnectFailure::BackingOff { .. }) => Refusal::BackingOff,
            Self::Unavailable(ConnectFailure::WrongIdentity(_)) => Refusal::WrongIdentity,
            Self::Unavailable(_) => Refusal::Unavailable,
            Self::Registry(_) => Refusal::Registry,
        }
    }

    /// After what time it makes sense to try again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(ConnectFailure::BackingOff { retry_after, .. }) => Some(*retry_after),
            _ => None,
        }
    }
}

/// The oldest tenant schema this program can work with: the newest migration without which a statement of ours
/// fails. Migration names begin with their date, so that they sort by age.
const OLDEST_SUPPORTED_SCHEMA: &str = "m20261121_000004_staff";

/// A change that concerns an open pool is looked at until the registry answers, so often.
const LOOK_AGAIN_ATTEMPTS: usize = 10;
const LOOK_AGAIN_PAUSE: Duration = Duration::from_millis(500);
/// Connections for ending sessions by force, at once.
const ENDERS: usize = 4;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

struct Inner {
    directory: Arc<Directory>,
    pools: Pools,
    gatekeeper: Arc<Gatekeeper>,
    addresses: Addresses,
    counters: Arc<Counters>,
    registry: Registry,
    settings: RouterSettings,
    enders: Arc<Semaphore>,
}

/// The router. Clones share everything.
#[derive(Clone)]
pub struct TenantRouter {
    inner: Arc<Inner>,
}

impl TenantRouter {
    /// A router with nothing open yet. Its reaper and its following of the registry's changes end with `life`.
    pub fn new(
        registry: Registry,
        settings: RouterSettings,
        life: &Lifecycle,
        clock: Clock,
    ) -> Self {
        let counters = Arc::<Counters>::default();
        let shelf = Arc::new(Shelf::new(counters.clone()));
        let reclaimer: std::sync::Weak<Shelf> = Arc::downgrade(&shelf);
        let reclaimer: std::sync::Weak<dyn Reclaim> = reclaimer;
        let gatekeeper = Arc::new(Gatekeeper::new(&settings, reclaimer, clock));
        let inner = Arc::new(Inner {
            directory: Arc::new(Directory::new(registry.clone(), settings.directory_ttl)),
            pools: Pools::new(&settings, shelf, gatekeeper.clone()),
            gatekeeper,
            addresses: Addresses::new(registry.server().clone()),
            counters,
            registry,
            settings,
            enders: Arc::new(Semaphore::new(ENDERS)),
        });
        let router = Self { inner };
        router.spawn_reaper(life);
        following::follow(&router, life);
        router
    }

    /// Holds the settings against what the registry's server takes, and sets its budget. Returns the connections that
    /// this replica may open to it for tenants, beside those of the registry's `pool` and of `provisioning`.
    pub async fn plan_budget(&self, pool: u32, provisioning: u32) -> Result<u32, PlanError> {
        let capacity = self.inner.registry.capacity().await?;
        Ok(self.inner.gatekeeper.plan(capacity, pool, provisioning)?)
    }

    /// Who is who, and who holds which number.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.inner.directory
    }

    /// Lends a connection to a tenant's database. One deadline, `router.acquire_timeout`, covers all of it:
    /// finding room among the open pools, opening the pool, and waiting for a connection. The look-up of a server that
    /// is not remembered has the registry's own limits.
    pub async fn connect(&self, tenant: &Arc<Tenant>) -> Result<TenantDb, RouterError> {
        self.inner.connect(tenant, false).await
    }

    /// As [`TenantRouter::connect`], for what must not wait behind ordinary requests (webhooks, operators): it may use
    /// the reserve of the server's budget.
    pub async fn connect_urgently(&self, tenant: &Arc<Tenant>) -> Result<TenantDb, RouterError> {
        self.inner.connect(tenant, true).await
    }

    /// A connection outside the pools, for making a tenant that is not active yet. The identity is proven all
    /// the same.
    pub async fn connect_for_provisioning(&self, id: TenantId) -> Result<TenantDb, RouterError> {
        let db = self.inner.registry.connect().await?;
        let tenant = crate::registry::tenants::find(&db, id).await?.ok_or(RouterError::Unknown)?;
        drop(db);
        let (_, target) = self.inner.target(&tenant).await?;
        let scope = TenantScope { tenant: Arc::new(tenant), _lease: None };
        Connection::open(&Arc::new(target), scope).await.map_err(RouterError::of_connect)
    }

    /// What a tenant's status and schema allow is decided before a connection is taken.
    pub fn admit(&self, tenant: &Tenant) -> Result<(), RouterError> {
        admit(tenant)
    }

    fn spawn_reaper(&self, life: &Lifecycle) {
        let (idle, retire) = (self.inner.settings.idle_timeout, self.inner.settings.retire_timeout);
        let period =
            (idle.min(retire) / 4).clamp(Duration::from_millis(25), Duration::from_secs(5));
        let (inner, stopping) = (self.inner.clone(), life.clone());
        life.spawn("pool reaper", async move {
            loop {
                tokio::select! {
                    () = stopping.stopping() => break,
                    () = tokio::time::sleep(period) => {
                        inner.pools.retire_idle(idle);
                        inner.pools.end_overdue(retire);
                    }
                }
            }
        });
    }

    /// Retires every pool, as the last act before the process ends; leases still out keep theirs.
    pub fn close(&self) {
        self.inner.pools.retire_all();
    }
}

/// Why the budget of the registry's server could not be set.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The server could not be asked.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The settings do not fit it.
    #[error(transparent)]
    Budget(#[from] BudgetError),
}

fn admit(tenant: &Tenant) -> Result<(), RouterError> {
    match tenant.status {
        Status::Active => {}
        Status::Suspended => return Err(RouterError::Suspended),
        Status::Deleted | Status::Purging | Status::Purged => return Err(RouterError::Deleted),
        Status::Pending | Status::Provisioning => return Err(RouterError::Provisioning),
        Status::Failed => return Err(RouterError::Failed),
    }
    if !has_supported_schema(tenant) {
        return Err(RouterError::SchemaOutdated);
    }
    Ok(())
}

fn has_supported_schema(tenant: &Tenant) -> bool {
    tenant.schema_version.as_str() >= OLDEST_SUPPORTED_SCHEMA
}

/// Why a pool lent nothing. One that has no connection has none because there is no room for it on the server.
fn refused(failure: CheckoutFailure, has_connections: bool) -> RouterError {
    match failure {
        CheckoutFailure::Busy | CheckoutFailure::Connect(ConnectFailure::NoPermit) => {
            if has_connections {
                RouterError::PoolBusy
            } else {
                RouterError::Saturated
            }
        }
        CheckoutFailure::Connect(failure) => RouterError::of_connect(failure),
    }
}

/// Could the tenant have moved, or its password have been changed?
fn may_have_moved(failure: &ConnectFailure) -> bool {
    match failure {
        ConnectFailure::Refused(_)
        | ConnectFailure::WrongIdentity(_)
        | ConnectFailure::Unreachable(_)
        | ConnectFailure::Insecure(_)
        | ConnectFailure::BadAddress(_)
        | ConnectFailure::Timeout => true,
        ConnectFailure::TooManyConnections(_)
        | ConnectFailure::NoPermit
        | ConnectFailure::Withdrawn
        | ConnectFailure::BackingOff { .. } => false,
    }
}

impl Inner {
    async fn connect(
        self: &Arc<Self>,
        tenant: &Arc<Tenant>,
        is_urgent: bool,
    ) -> Result<TenantDb, RouterError> {
        let deadline = Instant::now() + self.settings.acquire_timeout;
        let mut result = self.connect_again(tenant, is_urgent, deadline).await;
        if let Err(RouterError::Unavailable(failure)) = &result
            && may_have_moved(failure)
            && let Some(moved) = self.moved(tenant, deadline).await
        {
            self.gatekeeper.breakers.forgive(tenant.id);
            self.counters.retried();
            result = self.connect_again(&moved, is_urgent, deadline).await;
        }
        if let Err(error) = &result {
            self.counters.refusal(error.refusal());
        }
        result
    }

    /// Once, and again where the opening was given up by those before just as this request joined them.
    async fn connect_again(
        self: &Arc<Self>,
        tenant: &Arc<Tenant>,
        is_urgent: bool,
        deadline: Instant,
    ) -> Result<TenantDb, RouterError> {
        loop {
            let result = self.connect_once(tenant, is_urgent, deadline).await;
            if !matches!(result, Err(RouterError::Unavailable(ConnectFailure::Withdrawn))) {
                return result;
            }
        }
    }

    async fn connect_once(
        self: &Arc<Self>,
        tenant: &Arc<Tenant>,
        is_urgent: bool,
        deadline: Instant,
    ) -> Result<TenantDb, RouterError> {
        admit(tenant)?;
        let mut lease = match self.pools.lease_open(tenant) {
            Some(lease) => lease,
            None => {
                let epoch = self.directory.epoch();
                // Before any room is made: a tenant that cannot even be tried takes nobody's place.
                let target = tokio::time::timeout_at(deadline, self.target(tenant)).await;
                let silent = |_| RegistryError::Unavailable("it did not answer in time".to_owned());
                let (address, target) = target.map_err(silent)??;
                let lease = self.pools.lease(tenant, deadline, &address, target).await?;
                if self.directory.epoch() != epoch {
                    // Something has changed meanwhile, and its pools were looked at before this one was there.
                    let ids = vec![TenantId(tenant.id)];
                    tokio::spawn(self.clone().look_again(ids));
                }
                lease
            }
        };
        let _urgency = is_urgent.then(|| lease.urgently());
        let pool = lease.pool(deadline).await?;
        let checkout = match pool.checkout_before(deadline).await {
            Ok(checkout) => checkout,
            Err(failure) => return Err(refused(failure, pool.connections() > 0)),
        };
        lease.served();
        let scope = TenantScope { tenant: tenant.clone(), _lease: Some(lease) };
        Ok(checkout.into_connection(scope))
    }

    /// The tenant's row in the registry, if it leads elsewhere than this one.
    async fn moved(self: &Arc<Self>, tenant: &Tenant, deadline: Instant) -> Option<Arc<Tenant>> {
        if !self.gatekeeper.breakers.may_refresh(tenant.id) {
            return None;
        }
        let refresh = self.directory.refresh(TenantId(tenant.id));
        let fresh = tokio::time::timeout_at(deadline, refresh).await.ok()?.ok()??;
        shelf::leads_elsewhere(tenant, &fresh).then_some(fresh)
    }

    /// Where a tenant's connections lead.
    async fn target(
        self: &Arc<Self>,
        tenant: &Tenant,
    ) -> Result<(Arc<DatabaseServer>, Target), RouterError> {
        let address = self.directory.server(tenant.server_id).await?.ok_or_else(|| {
            let reason = format!("there is no database server {}", tenant.server_id);
            RouterError::Unavailable(ConnectFailure::BadAddress(reason))
        })?;
        let target = identity::target(self, tenant, &address)?;
        Ok((address, target))
    }

    /// After a change: do the pools of these tenants still lead where they should?
    async fn look_again(self: Arc<Self>, ids: Vec<TenantId>) {
        for id in ids {
            let mut attempts = 0;
            while let Err(error) = self.look_again_at(id).await {
                attempts += 1;
                if attempts == LOOK_AGAIN_ATTEMPTS {
                    // Callers find out for themselves where it leads.
                    tracing::debug!(%error, "a change could not be looked at; its pool is retired");
                    self.pools.retire_unknown(id);
                    break;
                }
                tokio::time::sleep(LOOK_AGAIN_PAUSE).await;
            }
        }
    }

    async fn look_again_at(self: &Arc<Self>, id: TenantId) -> Result<(), RegistryError> {
        let Some(tenant) = self.directory.tenant(id).await? else {
            self.pools.retire_unknown(id);
            return Ok(());
        };
        let address = self.directory.server(tenant.server_id).await?;
        let is_admitted = admit(&tenant).is_ok();
        self.pools.retire_outdated(&tenant, address.as_deref(), is_admitted);
        Ok(())
    }
}
