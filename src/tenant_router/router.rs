//! The router. One deadline covers the wait for room in the pool map, the opening of a pool and the
//! wait for a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::address::Addresses;
use super::admission::{Admission, BudgetError};
use super::budget::Reclaim;
use super::change_feed::{self, ChangeListener};
use super::directory::Directory;
use super::error::RouterError;
use super::pool_map::{PoolMap, endpoint_changed};
use super::pools::Pools;
use super::reasons::Counters;
use super::scope::{TenantDb, TenantScope};
use super::target::{self, Route};
use crate::clock::Clock;
use crate::configuration::RouterSettings;
use crate::identifiers::TenantId;
use crate::lifecycle::Lifecycle;
use crate::postgres::{CheckoutFailure, ConnectFailure, Connection, Target};
use crate::registry::changes::Change;
use crate::registry::tenants::database_servers::DatabaseServer;
use crate::registry::tenants::{self, Status, Tenant};
use crate::registry::{Registry, RegistryError};

/// The oldest tenant schema that this program can work with: without this migration, some statement
/// of the program fails. Migration names begin with their date, so that they sort by age.
const OLDEST_SUPPORTED_SCHEMA: &str = "m20261121_000004_staff";

/// After a change that concerns an open pool, the registry is asked until it answers, but at most
/// this often.
const REVALIDATE_ATTEMPTS: usize = 10;
const REVALIDATE_PAUSE: Duration = Duration::from_millis(500);
/// Connections that end sessions by force, at the same time.
const TERMINATION_PERMITS: usize = 4;

pub(super) struct Inner {
    pub(super) directory: Arc<Directory>,
    pub(super) pools: Pools,
    pub(super) admission: Arc<Admission>,
    pub(super) addresses: Addresses,
    pub(super) counters: Arc<Counters>,
    pub(super) registry: Registry,
    pub(super) settings: RouterSettings,
    pub(super) termination_permits: Arc<Semaphore>,
}

/// Gives connections to tenants' databases. Clones share all state.
#[derive(Clone)]
pub struct TenantRouter {
    pub(super) inner: Arc<Inner>,
}

impl TenantRouter {
    /// A router without any open pool. Its reaper and its change feed end with `life`.
    pub fn new(
        registry: Registry,
        settings: RouterSettings,
        life: &Lifecycle,
        clock: Clock,
    ) -> Self {
        let counters = Arc::<Counters>::default();
        let pool_map = Arc::new(PoolMap::new(counters.clone()));
        let reclaimer: std::sync::Weak<PoolMap> = Arc::downgrade(&pool_map);
        let reclaimer: std::sync::Weak<dyn Reclaim> = reclaimer;
        let admission = Arc::new(Admission::new(&settings, reclaimer, clock));
        let inner = Arc::new(Inner {
            directory: Arc::new(Directory::new(registry.clone(), settings.directory_ttl)),
            pools: Pools::new(&settings, pool_map, admission.clone()),
            admission,
            addresses: Addresses::new(registry.server().clone()),
            counters,
            registry,
            settings,
            termination_permits: Arc::new(Semaphore::new(TERMINATION_PERMITS)),
        });
        let router = Self { inner };
        router.spawn_reaper(life);
        change_feed::follow(&router.inner, life);
        router
    }

    /// Checks the settings against the limits of the registry's server, and sets the budget of that
    /// server. Returns the number of connections that this replica may open to it for tenants, in
    /// addition to the connections of the registry's `pool` and of `provisioning`.
    pub async fn plan_budget(&self, pool: u32, provisioning: u32) -> Result<u32, PlanError> {
        let capacity = self.inner.registry.capacity().await?;
        Ok(self.inner.admission.plan(capacity, pool, provisioning)?)
    }

    /// The cached look-ups of tenants, servers, hosts and numbers.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.inner.directory
    }

    /// Acquires a connection to a tenant's database. One deadline, `router.acquire_timeout`, covers
    /// the wait for room in the pool map, the opening of the pool, and the wait for a connection.
    /// The look-up of a server that is not in the cache has the registry's own limits.
    pub async fn connect(&self, tenant: &Arc<Tenant>) -> Result<TenantDb, RouterError> {
        self.inner.connect(tenant, false).await
    }

    /// As [`TenantRouter::connect`], for callers that must not wait behind ordinary requests
    /// (webhooks, operators). It may use the reserve of the server's budget.
    pub async fn connect_urgently(&self, tenant: &Arc<Tenant>) -> Result<TenantDb, RouterError> {
        self.inner.connect(tenant, true).await
    }

    /// A connection outside the pools, for the creation of a tenant that is not active yet. The
    /// identity of the database is checked here too.
    pub async fn connect_for_provisioning(&self, id: TenantId) -> Result<TenantDb, RouterError> {
        let db = self.inner.registry.connect().await?;
        let tenant = tenants::find(&db, id).await?.ok_or(RouterError::Unknown)?;
        drop(db);
        let (_, target) = self.inner.target(&tenant).await?;
        let scope = TenantScope { tenant: Arc::new(tenant), _lease: None };
        Connection::open(&Arc::new(target), scope).await.map_err(RouterError::of_connect)
    }

    /// Checks the tenant's status and schema before a connection is acquired.
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

    /// Retires every pool, as the last step before the process ends. Requests with a lease keep
    /// their connections.
    pub fn close(&self) {
        self.inner.pools.retire_all();
    }
}

/// Why the budget of the registry's server could not be set.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The registry's server could not be asked for its limits.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The settings do not fit the registry's server.
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

pub(super) fn has_supported_schema(tenant: &Tenant) -> bool {
    tenant.schema_version.as_str() >= OLDEST_SUPPORTED_SCHEMA
}

/// Why a pool gave no connection. A pool without any connection lacks a permit of the server's
/// budget.
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

/// True if the failure can mean that the tenant's database has moved or that its password has
/// changed.
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
        let mut result = self.retry_withdrawn(tenant, is_urgent, deadline).await;
        if let Err(RouterError::Unavailable(failure)) = &result
            && may_have_moved(failure)
            && let Some(moved) = self.moved(tenant, deadline).await
        {
            self.admission.breakers.reset(tenant.id);
            self.counters.retried();
            result = self.retry_withdrawn(&moved, is_urgent, deadline).await;
        }
        if let Err(error) = &result {
            self.counters.refusal(error.refusal());
        }
        result
    }

    /// Tries again if the shared opening was cancelled by its last waiter at the moment this
    /// request joined it.
    async fn retry_withdrawn(
        self: &Arc<Self>,
        tenant: &Arc<Tenant>,
        is_urgent: bool,
        deadline: Instant,
    ) -> Result<TenantDb, RouterError> {
        loop {
            let result = self.open_and_checkout(tenant, is_urgent, deadline).await;
            if !matches!(result, Err(RouterError::Unavailable(ConnectFailure::Withdrawn))) {
                return result;
            }
        }
    }

    async fn open_and_checkout(
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
                // Before room is made: a tenant that cannot be tried must not take the place of
                // another tenant.
                let target = tokio::time::timeout_at(deadline, self.target(tenant)).await;
                let silent = |_| RegistryError::Unavailable("it did not answer in time".to_owned());
                let (address, target) = target.map_err(silent)??;
                let lease = self.pools.lease(tenant, deadline, &address, target).await?;
                if self.directory.epoch() != epoch {
                    // A change arrived meanwhile, and its pools were checked before this pool was
                    // in the map.
                    let ids = vec![tenant.id];
                    tokio::spawn(self.clone().revalidate(ids));
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

    /// The tenant's row in the registry, if its endpoint differs from this row's.
    async fn moved(self: &Arc<Self>, tenant: &Tenant, deadline: Instant) -> Option<Arc<Tenant>> {
        if !self.admission.breakers.may_refresh(tenant.id) {
            return None;
        }
        let refresh = self.directory.refresh(tenant.id);
        let fresh = tokio::time::timeout_at(deadline, refresh).await.ok()?.ok()??;
        endpoint_changed(tenant, &fresh).then_some(fresh)
    }

    /// The target of a tenant's connections: address, credentials and checks.
    async fn target(
        self: &Arc<Self>,
        tenant: &Tenant,
    ) -> Result<(Arc<DatabaseServer>, Target), RouterError> {
        let address = self.directory.server(tenant.server_id).await?.ok_or_else(|| {
            let reason = format!("there is no database server {}", tenant.server_id);
            RouterError::Unavailable(ConnectFailure::BadAddress(reason))
        })?;
        let route = Route {
            registry: &self.registry,
            settings: &self.settings,
            addresses: &self.addresses,
            admission: &self.admission,
            termination_permits: &self.termination_permits,
        };
        let target = target::target(route, tenant, &address)?;
        Ok((address, target))
    }

    /// After a change: checks whether the pools of these tenants still lead to the right database.
    async fn revalidate(self: Arc<Self>, ids: Vec<TenantId>) {
        for id in ids {
            let mut attempts = 0;
            while let Err(error) = self.revalidate_one(id).await {
                attempts += 1;
                if attempts == REVALIDATE_ATTEMPTS {
                    // Later callers look up the address themselves.
                    tracing::debug!(%error, "a change could not be looked at; its pool is retired");
                    self.pools.retire_unknown(id);
                    break;
                }
                tokio::time::sleep(REVALIDATE_PAUSE).await;
            }
        }
    }

    async fn revalidate_one(self: &Arc<Self>, id: TenantId) -> Result<(), RegistryError> {
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

impl ChangeListener for Inner {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn mark_synced_until(&self, moment: Instant) {
        self.directory.mark_synced_until(moment);
    }

    fn take_up(self: &Arc<Self>, news: Vec<Change>) {
        if news.is_empty() {
            return;
        }
        let open = self.pools.open_tenants();
        let everywhere = news.iter().any(|c| matches!(c, Change::Server(_) | Change::Everything));
        let is_concerned = |id: &TenantId| everywhere || news.contains(&Change::Tenant(*id));
        let ids: Vec<_> = open.into_iter().filter(is_concerned).collect();
        for change in &news {
            if let Change::Server(id) = change {
                self.admission.ask_again(*id);
            }
        }
        self.directory.apply(news);
        if !ids.is_empty() {
            tokio::spawn(self.clone().revalidate(ids));
        }
    }
}
