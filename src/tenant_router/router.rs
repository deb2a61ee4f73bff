//! The router: one deadline over finding room, opening a pool and waiting for a connection.

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

/// The oldest tenant schema this program can work with: the newest migration without which a statement of ours
/// fails. Migration names begin with their date, so that they sort by age.
const OLDEST_SUPPORTED_SCHEMA: &str = "m20261121_000004_staff";

/// A change that concerns an open pool is looked at until the registry answers, so often.
const REVALIDATE_ATTEMPTS: usize = 10;
const REVALIDATE_PAUSE: Duration = Duration::from_millis(500);
/// Connections for ending sessions by force, at once.
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

/// The router. Clones share everything.
#[derive(Clone)]
pub struct TenantRouter {
    pub(super) inner: Arc<Inner>,
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

    /// Holds the settings against what the registry's server takes, and sets its budget. Returns the connections that
    /// this replica may open to it for tenants, beside those of the registry's `pool` and of `provisioning`.
    pub async fn plan_budget(&self, pool: u32, provisioning: u32) -> Result<u32, PlanError> {
        let capacity = self.inner.registry.capacity().await?;
        Ok(self.inner.admission.plan(capacity, pool, provisioning)?)
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
        let tenant = tenants::find(&db, id).await?.ok_or(RouterError::Unknown)?;
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

pub(super) fn has_supported_schema(tenant: &Tenant) -> bool {
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

    /// Once, and again where the opening was given up by those before just as this request joined them.
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
                // Before any room is made: a tenant that cannot even be tried takes nobody's place.
                let target = tokio::time::timeout_at(deadline, self.target(tenant)).await;
                let silent = |_| RegistryError::Unavailable("it did not answer in time".to_owned());
                let (address, target) = target.map_err(silent)??;
                let lease = self.pools.lease(tenant, deadline, &address, target).await?;
                if self.directory.epoch() != epoch {
                    // Something has changed meanwhile, and its pools were looked at before this one was there.
                    let ids = vec![TenantId(tenant.id)];
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

    /// The tenant's row in the registry, if it leads elsewhere than this one.
    async fn moved(self: &Arc<Self>, tenant: &Tenant, deadline: Instant) -> Option<Arc<Tenant>> {
        if !self.admission.breakers.may_refresh(tenant.id) {
            return None;
        }
        let refresh = self.directory.refresh(TenantId(tenant.id));
        let fresh = tokio::time::timeout_at(deadline, refresh).await.ok()?.ok()??;
        endpoint_changed(tenant, &fresh).then_some(fresh)
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

    /// After a change: do the pools of these tenants still lead where they should?
    async fn revalidate(self: Arc<Self>, ids: Vec<TenantId>) {
        for id in ids {
            let mut attempts = 0;
            while let Err(error) = self.revalidate_one(id).await {
                attempts += 1;
                if attempts == REVALIDATE_ATTEMPTS {
                    // Callers find out for themselves where it leads.
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
