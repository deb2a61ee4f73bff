//! The open pools. Their number is bounded: the least recently used idle pool is retired for a new
//! one. A retired pool leaves the map at once, its leases end undisturbed, and its connections
//! close with the last lease.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::admission::{Admission, Callers, ServerAdmission};
use super::error::RouterError;
use super::pool_map::{Entry, Lease, Opening, Placement, PoolMap};
use super::reasons::PoolEvent;
use crate::configuration::RouterSettings;
use crate::identifiers::TenantId;
use crate::postgres::{ConnectFailure, Pool, PoolLimits, Target};
use crate::registry::tenants::Tenant;
use crate::registry::tenants::database_servers::DatabaseServer;

/// A pool that was ended by force and still has leases is ended again after this long.
const STOP_AGAIN: Duration = Duration::from_secs(10);

/// The state of a tenant's pool at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// Its first connection is still being opened.
    pub is_opening: bool,
    /// Connections that exist.
    pub connections: u32,
    /// Connections among `connections` that are not checked out.
    pub idle: u32,
    /// Requests that have a connection or wait for one.
    pub leases: usize,
    /// Requests among `leases` that have no connection yet.
    pub waiting: usize,
}

/// Totals over all pools at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overview {
    pub open: usize,
    pub leases: usize,
    pub waiting: usize,
    pub connections: u32,
    pub retiring: usize,
    pub oldest_retiring: Duration,
}

pub(super) struct Pools {
    pool_map: Arc<PoolMap>,
    admission: Arc<Admission>,
    max_open: usize,
    limits: PoolLimits,
    /// Requests whose tenant has no open pool, in order of arrival. A request whose pool is open
    /// does not queue.
    line: tokio::sync::Mutex<()>,
}

impl Pools {
    pub fn new(
        settings: &RouterSettings,
        pool_map: Arc<PoolMap>,
        admission: Arc<Admission>,
    ) -> Self {
        Self {
            pool_map,
            admission,
            max_open: settings.max_open_tenants.max(1),
            limits: PoolLimits {
                max_connections: settings.max_connections_per_tenant,
                acquire_timeout: settings.acquire_timeout,
                idle_timeout: settings.idle_timeout,
            },
            line: tokio::sync::Mutex::default(),
        }
    }

    /// A lease on the tenant's pool, if it has one.
    pub fn lease_open(&self, tenant: &Tenant) -> Option<Lease> {
        let mut entries = self.pool_map.entries.lock();
        let entry = entries.get(&tenant.id)?;
        let usable = !entry.failed.load(Ordering::Acquire) && entry.is_current_for(tenant);
        usable.then(|| self.lease_on(entry.clone()))
    }

    /// A lease on the tenant's pool. Opens the pool at `target` if there is none.
    pub async fn lease(
        &self,
        tenant: &Tenant,
        deadline: Instant,
        address: &Arc<DatabaseServer>,
        target: Target,
    ) -> Result<Lease, RouterError> {
        let line = self.line.lock();
        let _first =
            tokio::time::timeout_at(deadline, line).await.map_err(|_| RouterError::Saturated)?;
        loop {
            // Registered before `try_lease`, so that a pool freed in between is not missed.
            let mut freed = std::pin::pin!(self.pool_map.freed.notified());
            freed.as_mut().enable();
            if let Some(lease) = self.try_lease(tenant, address, &target) {
                return Ok(lease);
            }
            tokio::time::timeout_at(deadline, freed).await.map_err(|_| RouterError::Saturated)?;
        }
    }

    /// `None` if every place in the map is taken by a pool in use.
    fn try_lease(
        &self,
        tenant: &Tenant,
        address: &Arc<DatabaseServer>,
        target: &Target,
    ) -> Option<Lease> {
        let mut entries = self.pool_map.entries.lock();
        if let Some(entry) = entries.get(&tenant.id) {
            let failed = entry.failed.load(Ordering::Acquire);
            if !failed && entry.is_current_for(tenant) {
                return Some(self.lease_on(entry.clone()));
            }
            let old = entries.pop(&tenant.id)?;
            if !failed {
                self.pool_map.retire(old, PoolEvent::Moved);
                self.admission.breakers.reset(tenant.id);
            }
        }
        if entries.len() >= self.max_open {
            self.pool_map.retire_idle_one(&mut entries, PoolEvent::Evicted, |_| true)?;
        }
        let server = self.admission.server(tenant.server_id);
        let callers = Callers::default();
        // The caller that the pool is opened for counts as waiting before the opening begins.
        callers.waiting.fetch_add(1, Ordering::AcqRel);
        let (begun, failed) = (Arc::<OnceLock<Instant>>::default(), Arc::<AtomicBool>::default());
        let admission_hook = self.admission.admission_hook(tenant.id, &server, &callers, &begun);
        let target = Target { admission_hook: Some(Arc::new(admission_hook)), ..target.clone() };
        let entry = Arc::new(Entry {
            tenant: tenant.id,
            address: address.clone(),
            placement: Placement::of(tenant),
            opening: self.begin_opening(target, failed.clone(), &server),
            server,
            as_of: tenant.updated_at,
            begun,
            failed,
            leases: AtomicUsize::new(0),
            callers,
            last_used: Mutex::new(Instant::now()),
        });
        entries.put(tenant.id, entry.clone());
        let lease = self.lease_on(entry);
        lease.entry.callers.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(lease)
    }

    /// Counted under the lock of the map, so that a pool chosen for eviction cannot be leased in
    /// between.
    fn lease_on(&self, entry: Arc<Entry>) -> Lease {
        entry.leases.fetch_add(1, Ordering::AcqRel);
        entry.callers.waiting.fetch_add(1, Ordering::AcqRel);
        Lease { entry, shared: self.pool_map.clone(), is_waiting: true }
    }

    /// Opens in a task of its own, so that the first caller can give up without a failure for the
    /// callers behind it.
    fn begin_opening(
        &self,
        target: Target,
        failed: Arc<AtomicBool>,
        server: &Arc<ServerAdmission>,
    ) -> Opening {
        let (limits, counters) = (self.limits.clone(), self.pool_map.counters.clone());
        let task = tokio::spawn(async move {
            let opened = Pool::open(target, &limits).await;
            failed.store(opened.is_err(), Ordering::Release);
            counters.pool(match &opened {
                Ok(_) => PoolEvent::Opened,
                Err(_) => PoolEvent::OpenFailed,
            });
            opened
        });
        let opening = async move {
            task.await.unwrap_or_else(|e| Err(ConnectFailure::Unreachable(e.to_string())))
        };
        let opening = opening.boxed().shared();
        // If every caller has left, no other code reads the outcome, and reclaim could not see the
        // pool.
        let (outcome, server) = (opening.clone(), server.clone());
        tokio::spawn(async move {
            let _ = outcome.await;
            if server.budget.is_short() {
                server.budget.ask_for_reclaim();
            }
        });
        opening
    }

    pub fn retire_idle(&self, idle_timeout: Duration) {
        let mut entries = self.pool_map.entries.lock();
        let is_evictable = |e: &Entry| e.last_used.lock().elapsed() >= idle_timeout;
        while self.pool_map.retire_idle_one(&mut entries, PoolEvent::Idle, is_evictable).is_some() {
        }
    }

    pub fn retire_all(&self) {
        let mut entries = self.pool_map.entries.lock();
        while let Some((_, entry)) = entries.pop_lru() {
            self.pool_map.retire(entry, PoolEvent::Shutdown);
        }
    }

    /// Retires the pool of a tenant that may no longer be served, or that has moved. A pool that
    /// was opened from a newer row than `tenant` stays.
    pub fn retire_outdated(
        &self,
        tenant: &Tenant,
        address: Option<&DatabaseServer>,
        is_admitted: bool,
    ) {
        let mut entries = self.pool_map.entries.lock();
        let Some(entry) = entries.peek(&tenant.id) else { return };
        let is_right = entry.placement.is_of(tenant)
            && address.is_some_and(|address| address.endpoint(&entry.address));
        if entry.as_of > tenant.updated_at || (is_admitted && is_right) {
            return;
        }
        if let Some(entry) = entries.pop(&tenant.id) {
            let reason = if is_admitted { PoolEvent::Moved } else { PoolEvent::NotAdmitted };
            self.pool_map.retire(entry, reason);
        }
        self.admission.breakers.reset(tenant.id);
    }

    /// Retires the pool of a tenant that is no longer in the registry.
    pub fn retire_unknown(&self, id: TenantId) {
        let mut entries = self.pool_map.entries.lock();
        if let Some(entry) = entries.pop(&id) {
            self.pool_map.retire(entry, PoolEvent::NotAdmitted);
        }
    }

    /// Ends by force the pools that have been retiring for longer than `patience`. Removes closed
    /// pools from the list.
    pub fn end_overdue(&self, patience: Duration) {
        let mut retiring = self.pool_map.retiring.lock();
        retiring.retain(|pool| pool.entry.strong_count() > 0);
        for pool in retiring.iter_mut() {
            let is_due = match pool.stopped {
                None => pool.since.elapsed() >= patience,
                Some(last) => last.elapsed() >= STOP_AGAIN,
            };
            if !is_due {
                continue;
            }
            let open = pool.entry.upgrade().and_then(|entry| entry.pool().cloned());
            let Some(open) = open else { continue };
            if pool.stopped.replace(Instant::now()).is_none() {
                self.pool_map.counters.pool(PoolEvent::Stopped);
            }
            tokio::spawn(async move {
                if let Err(failure) = open.end_sessions().await {
                    tracing::warn!(%failure, "the sessions of a retired pool could not be ended");
                }
            });
        }
    }

    /// The tenants that have a pool.
    pub fn open_tenants(&self) -> Vec<TenantId> {
        self.pool_map.entries.lock().iter().map(|(id, _)| *id).collect()
    }

    /// A tenant's pool; looking at it does not count as use.
    pub fn view(&self, tenant: TenantId) -> Option<PoolView> {
        let entries = self.pool_map.entries.lock();
        let entry = entries.peek(&tenant)?;
        let pool = entry.pool();
        Some(PoolView {
            is_opening: pool.is_none(),
            connections: pool.map_or(0, Pool::connections),
            idle: pool.map_or(0, Pool::idle_connections),
            leases: entry.leases.load(Ordering::Acquire),
            waiting: entry.callers.waiting.load(Ordering::Acquire),
        })
    }

    /// How many pools are in the map, opening ones included.
    pub fn open(&self) -> usize {
        self.pool_map.entries.lock().len()
    }

    pub fn overview(&self) -> Overview {
        let (alive, oldest) = {
            let mut retiring = self.pool_map.retiring.lock();
            retiring.retain(|pool| pool.entry.strong_count() > 0);
            let oldest = retiring.iter().map(|pool| pool.since.elapsed()).max();
            (retiring.len(), oldest.unwrap_or_default())
        };
        let entries = self.pool_map.entries.lock();
        let pools = || entries.iter().filter_map(|(_, e)| e.pool());
        Overview {
            open: entries.len(),
            leases: entries.iter().map(|(_, e)| e.leases.load(Ordering::Acquire)).sum(),
            waiting: entries.iter().map(|(_, e)| e.callers.waiting.load(Ordering::Acquire)).sum(),
            connections: pools().map(Pool::connections).sum(),
            retiring: alive,
            oldest_retiring: oldest,
        }
    }
}
