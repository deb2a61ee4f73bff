//! Whether and when a connection may be opened: first the circuit breakers decide, then the
//! server's budget.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::breaker::{Breakers, ProbeGuard};
use super::budget::{Budget, BudgetPermit, NoBudget, Reclaim};
use crate::clock::Clock;
use crate::configuration::RouterSettings;
use crate::identifiers::{ServerId, TenantId};
use crate::postgres::administration::Capacity;
use crate::postgres::{AdmissionHook, Attempt, ConnectFailure, Permit, ServerSignals};
use crate::registry::tenants::REGISTRY_SERVER;

/// The percentage of a server's free connections that tenants get if no number is configured.
/// Sessions that are about to end, people with psql and backups need the rest.
const DEFAULT_SHARE_PERCENT: u32 = 80;
/// Connections of a replica to the registry's server that last for its lifetime, in addition to the
/// registry's pool: the listener.
const LISTENERS: u32 = 1;

/// The configured connections do not fit the server.
#[derive(Debug, thiserror::Error)]
#[error(
    "the connections do not fit the registry's database server: its max_connections {} less {} reserved leaves {}, of \
     which {} replica(s) (router.replicas) need {} each for the registry (registry.max_connections and {} more, which \
     provisioning.concurrency decides), so that each has {} for tenants, and router.max_connections_per_server asks \
     for {}. Raise max_connections of the server, or set router.max_connections_per_server to at most {}, or \
     registry.max_connections or provisioning.concurrency lower",
    .capacity.max_connections, .capacity.reserved, .capacity.max_connections.saturating_sub(.capacity.reserved),
    .replicas, .pool + .more, .more, .left, .wanted, .left
)]
pub struct BudgetError {
    capacity: Capacity,
    replicas: u32,
    pool: u32,
    more: u32,
    left: u32,
    wanted: u32,
}

/// The number of connections left for tenants on one replica, and the limit that follows from it.
fn share(capacity: Capacity, beside: u32, replicas: u32, wanted: Option<u32>) -> (u32, u32) {
    let usable = capacity.max_connections.saturating_sub(capacity.reserved);
    let left = (usable / replicas).saturating_sub(beside);
    let default = (left * DEFAULT_SHARE_PERCENT / 100).max(left.min(1));
    (left, wanted.unwrap_or(default))
}

/// Admission to one database server.
pub(super) struct ServerAdmission {
    pub id: ServerId,
    pub budget: Arc<Budget>,
    pub signals: Arc<ServerSignals>,
    /// First connections of opening pools, at the same time.
    cold_opens: Arc<Semaphore>,
    /// True after the server has told how many connections it takes.
    is_known: AtomicBool,
}

/// The budgets of all servers, and all circuit breakers.
pub(super) struct Admission {
    pub breakers: Arc<Breakers>,
    servers: Mutex<HashMap<ServerId, Arc<ServerAdmission>>>,
    reclaimer: Weak<dyn Reclaim>,
    wanted: Option<u32>,
    replicas: u32,
    first_limit: u32,
    max_cold_opens: usize,
    patience: Duration,
}

impl Admission {
    pub fn new(settings: &RouterSettings, reclaimer: Weak<dyn Reclaim>, clock: Clock) -> Self {
        Self {
            breakers: Arc::new(Breakers::new(clock)),
            servers: Mutex::default(),
            reclaimer,
            wanted: settings.max_connections_per_server,
            replicas: settings.replicas.max(1),
            // Valid until the server has been asked.
            first_limit: settings
                .max_connections_per_server
                .unwrap_or(settings.max_connections_per_tenant),
            max_cold_opens: settings.max_cold_opens,
            patience: settings.acquire_timeout,
        }
    }

    pub fn server(&self, id: ServerId) -> Arc<ServerAdmission> {
        let make = || {
            Arc::new(ServerAdmission {
                id,
                budget: Arc::new(Budget::new(id, self.first_limit, self.reclaimer.clone())),
                signals: Arc::default(),
                cold_opens: Arc::new(Semaphore::new(self.max_cold_opens)),
                is_known: AtomicBool::new(false),
            })
        };
        self.servers.lock().entry(id).or_insert_with(make).clone()
    }

    pub fn servers(&self) -> Vec<Arc<ServerAdmission>> {
        self.servers.lock().values().cloned().collect()
    }

    /// Sets the budget of the registry's server, where the registry's pool and provisioning need
    /// connections too. Fails if the settings do not fit the server.
    pub fn plan(
        &self,
        capacity: Capacity,
        pool: u32,
        provisioning: u32,
    ) -> Result<u32, BudgetError> {
        let (wanted, replicas) = (self.wanted, self.replicas);
        let more = provisioning.saturating_add(LISTENERS);
        let (left, limit) = share(capacity, pool.saturating_add(more), replicas, wanted);
        if limit == 0 || limit > left {
            let wanted = limit.max(1);
            return Err(BudgetError { capacity, replicas, pool, more, left, wanted });
        }
        let server = self.server(REGISTRY_SERVER);
        server.is_known.store(true, Ordering::Release);
        server.budget.set_limit(limit);
        Ok(limit)
    }

    /// Resets the known capacity, because the row of the server has changed: it may be another
    /// machine now.
    pub fn ask_again(&self, id: ServerId) {
        if id != REGISTRY_SERVER
            && let Some(server) = self.servers.lock().get(&id)
        {
            server.is_known.store(false, Ordering::Release);
        }
    }

    /// Applies the number of connections that a server reports.
    pub fn learn(&self, id: ServerId, capacity: Capacity) {
        let server = self.server(id);
        if server.is_known.swap(true, Ordering::AcqRel) {
            return;
        }
        let (left, limit) = share(capacity, 0, self.replicas, self.wanted);
        if limit > left {
            tracing::error!(
                server = %id, left, limit,
                "router.max_connections_per_server is more than this database server takes; using what it takes"
            );
        }
        server.budget.set_limit(limit.min(left).max(1));
    }

    pub fn admission_hook(
        self: &Arc<Self>,
        tenant: TenantId,
        server: &Arc<ServerAdmission>,
        callers: &Callers,
        begun: &Arc<OnceLock<Instant>>,
    ) -> TenantGate {
        TenantGate {
            tenant,
            server: server.clone(),
            breakers: self.breakers.clone(),
            patience: self.patience,
            callers: callers.clone(),
            begun: begun.clone(),
        }
    }
}

/// Counts of the callers that ask for connections of one tenant's pool.
#[derive(Clone, Default)]
pub(super) struct Callers {
    /// Callers that have no connection yet.
    pub waiting: Arc<AtomicUsize>,
    /// Callers that may use the reserve.
    pub urgent: Arc<AtomicUsize>,
}

/// The admission hook for the connections of one tenant's pool.
pub(super) struct TenantGate {
    tenant: TenantId,
    server: Arc<ServerAdmission>,
    breakers: Arc<Breakers>,
    patience: Duration,
    callers: Callers,
    /// When the first connection was tried.
    begun: Arc<OnceLock<Instant>>,
}

impl TenantGate {
    async fn try_to_enter(&self) -> Result<Box<dyn Attempt>, ConnectFailure> {
        if self.callers.waiting.load(Ordering::Acquire) == 0 {
            return Err(ConnectFailure::Withdrawn);
        }
        // Before the queue too: an attempt that the breaker refuses needs no permit.
        drop(self.breakers.admit(self.tenant, self.server.id)?);
        let urgent = self.callers.urgent.clone();
        let place = self.server.budget.acquire(self.tenant, urgent, self.patience).await;
        let place = place.map_err(|reason| match reason {
            NoBudget::NoneCameFree => ConnectFailure::NoPermit,
            NoBudget::Withdrawn => ConnectFailure::Withdrawn,
        })?;
        // After the permit: an opening that waits for a permit must not block an opening that has
        // one.
        let permit = match self.begun.get() {
            Some(_) => None,
            None => self.server.cold_opens.clone().acquire_owned().await.ok(),
        };
        let attempt = self.breakers.admit(self.tenant, self.server.id)?;
        let _ = self.begun.set(Instant::now());
        Ok(Box::new(Entered { place, attempt, _permit: permit }))
    }
}

impl AdmissionHook for TenantGate {
    fn before_connect(&self) -> BoxFuture<'_, Result<Box<dyn Attempt>, ConnectFailure>> {
        self.try_to_enter().boxed()
    }

    fn wait_again(&self) -> Box<dyn Any + Send + Sync> {
        Box::new(WaitsAgain::new(&self.callers.waiting))
    }

    fn is_wanted_back(&self) -> bool {
        self.server.budget.is_wanted_back(self.tenant)
    }
}

/// Counts a caller whose connection died as waiting again, until it is dropped.
struct WaitsAgain(Arc<AtomicUsize>);

impl WaitsAgain {
    fn new(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting.clone())
    }
}

impl Drop for WaitsAgain {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Entered {
    place: BudgetPermit,
    attempt: ProbeGuard,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Attempt for Entered {
    fn succeeded(self: Box<Self>) -> Permit {
        self.attempt.succeeded();
        Box::new(self.place)
    }

    fn failed(self: Box<Self>, failure: &ConnectFailure) -> Permit {
        self.attempt.failed(failure);
        Box::new(self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::default(100, 3, 22, 1, None, (75, 60))]
    #[case::two_replicas(100, 3, 22, 2, None, (26, 20))]
    #[case::as_wanted(100, 3, 22, 1, Some(75), (75, 75))]
    #[case::too_many(100, 3, 22, 1, Some(76), (75, 76))]
    #[case::too_small_a_server(20, 3, 22, 1, None, (0, 0))]
    fn a_replica_has_its_share_of_what_a_server_has_left(
        #[case] max_connections: u32,
        #[case] reserved: u32,
        #[case] beside: u32,
        #[case] replicas: u32,
        #[case] wanted: Option<u32>,
        #[case] expected: (u32, u32),
    ) {
        let capacity = Capacity { max_connections, reserved };
        assert_eq!(share(capacity, beside, replicas, wanted), expected);
    }
}
