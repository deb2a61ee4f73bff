//! The open pools: at most so many, the least recently used idle one retired for a newcomer. A retired pool
//! leaves the map at once; its leases end undisturbed, and its connections close with the last of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use lru::LruCache;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use uuid::Uuid;

use super::budget::Reclaim;
use super::gatekeeper::{Gatekeeper, Server};
use super::reasons::{Counters, PoolEvent};
use super::{RouterError, lock};
use crate::configuration::RouterSettings;
use crate::identifiers::TenantId;
use crate::postgres::{ConnectFailure, Pool, PoolLimits, Target};
use crate::registry::database_servers::DatabaseServer;
use crate::registry::tenants::Tenant;

/// Where a tenant's connections lead; when the registry says otherwise, the pool is of yesterday.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placement {
    server: Uuid,
    database: String,
    role: String,
    sealed_password: Vec<u8>,
}

impl Placement {
    fn of(tenant: &Tenant) -> Self {
        Self {
            server: tenant.server_id,
            database: tenant.database_name.clone(),
            role: tenant.role_name.clone(),
            sealed_password: tenant.sealed_password.clone(),
        }
    }

    fn is_of(&self, tenant: &Tenant) -> bool {
        self.server == tenant.server_id
            && self.database == tenant.database_name
            && self.role == tenant.role_name
            && self.sealed_password == tenant.sealed_password
    }
}

/// Do the two rows of one tenant lead to different places?
pub(super) fn leads_elsewhere(before: &Tenant, now: &Tenant) -> bool {
    !Placement::of(before).is_of(now)
}

type Opening = Shared<BoxFuture<'static, Result<Pool, ConnectFailure>>>;

/// One tenant's place in the map, from the moment its opening begins.
pub(super) struct Entry {
    tenant: Uuid,
    placement: Placement,
    /// The row of the server it was opened by.
    address: Arc<DatabaseServer>,
    server: Arc<Server>,
    opening: Opening,
    /// When the registry's row was last changed that this pool was opened by.
    as_of: DateTime<Utc>,
    /// The opening has had its turn. Before that a caller who gives up has waited for other tenants' openings.
    begun: Arc<AtomicBool>,
    /// The opening has failed; whoever comes now tries anew instead of hearing of an old failure.
    failed: Arc<AtomicBool>,
    /// Requests that have this pool or wait for it.
    leases: AtomicUsize,
    /// Requests among them that have no connection yet.
    waiting: AtomicUsize,
    /// Callers among them who may use the reserve of the server's budget.
    urgent: Arc<AtomicUsize>,
    last_used: Mutex<Instant>,
}

impl Entry {
    /// Where it is open: the pool.
    fn pool(&self) -> Option<&Pool> {
        self.opening.peek()?.as_ref().ok()
    }

    fn is_leased(&self) -> bool {
        self.leases.load(Ordering::Acquire) > 0
    }

    /// Has the registry's row led to this pool, or a newer one? A caller with an older row has only been slow.
    fn is_current_for(&self, tenant: &Tenant) -> bool {
        self.placement.is_of(tenant) || self.as_of > tenant.updated_at
    }
}

/// Holds a pool in the map's view: while it lives the pool is in use. Dropped after its connection went back.
pub(super) struct Lease {
    entry: Arc<Entry>,
    shared: Arc<Shelf>,
    is_waiting: bool,
}

impl Lease {
    /// The pool, once it is open. The deadline ends the wait.
    pub(super) async fn pool(&self, deadline: Instant) -> Result<&Pool, RouterError> {
        if self.entry.opening.peek().is_none() {
            let opened = tokio::time::timeout_at(deadline, self.entry.opening.clone()).await;
            if opened.is_err() {
                return Err(match self.entry.begun.load(Ordering::Acquire) {
                    // It has waited for others, for a turn or for room on the server.
                    false => RouterError::Saturated,
                    true => RouterError::Unavailable(ConnectFailure::Timeout),
                });
            }
        }
        match self.entry.opening.peek() {
            Some(Ok(pool)) => Ok(pool),
            Some(Err(failure)) => {
                self.shared.remove(&self.entry);
                Err(RouterError::of_connect(failure.clone()))
            }
            None => Err(RouterError::Unavailable(ConnectFailure::Timeout)),
        }
    }

    /// Its holder has a connection now, and needs none to be opened.
    pub(super) fn served(&mut self) {
        if !std::mem::take(&mut self.is_waiting) {
            return;
        }
        let waiting = self.entry.waiting.fetch_sub(1, Ordering::AcqRel) - 1;
        let budget = &self.entry.server.budget;
        if budget.is_short() {
            budget.withdraw(self.entry.tenant, waiting);
        }
    }

    /// While it lives, a connection of this tenant may be opened from the reserve of the server's budget.
    pub(super) fn urgently(&self) -> Urgency {
        self.entry.urgent.fetch_add(1, Ordering::AcqRel);
        if self.entry.server.budget.is_short() {
            self.entry.server.budget.grant();
        }
        Urgency(self.entry.urgent.clone())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.served();
        *lock(&self.entry.last_used) = Instant::now();
        if self.entry.leases.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.freed.notify_waiters();
        }
        if self.entry.server.budget.is_short() {
            self.entry.server.budget.ask_for_reclaim();
        }
    }
}

/// A caller who may use the reserve.
pub(super) struct Urgency(Arc<AtomicUsize>);

impl Drop for Urgency {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A pool that has left the map and is not closed yet.
struct Retiring {
    entry: Weak<Entry>,
    since: Instant,
    is_stopped: bool,
}

/// What leases and reclaim share with the pools.
pub(super) struct Shelf {
    entries: Mutex<LruCache<Uuid, Arc<Entry>>>,
    retiring: Mutex<Vec<Retiring>>,
    /// A pool came free, or a place in the map.
    freed: Notify,
    counters: Arc<Counters>,
}

/// What a tenant's pool looks like at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// Its first connection is still being opened.
    pub is_opening: bool,
    /// Connections that exist.
    pub connections: u32,
    /// Of these, not lent.
    pub idle: u32,
    /// Requests that have a connection or wait for one.
    pub leases: usize,
    /// Of these, waiting.
    pub waiting: usize,
}

/// The pools together, at one moment.
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
    shelf: Arc<Shelf>,
    gatekeeper: Arc<Gatekeeper>,
    max_open: usize,
    limits: PoolLimits,
    cold_opens: Arc<Semaphore>,
}

impl Shelf {
    pub fn new(counters: Arc<Counters>) -> Self {
        Self {
            // The cap is ours to keep: an LRU that evicts by itself would throw out pools in use.
            entries: Mutex::new(LruCache::unbounded()),
            retiring: Mutex::default(),
            freed: Notify::new(),
            counters,
        }
    }

    /// What has been taken out of the map is on its way to its end. The caller holds the lock of the map.
    fn retire(&self, entry: Arc<Entry>, reason: PoolEvent) {
        self.counters.pool(reason);
        let entry = Arc::downgrade(&entry);
        lock(&self.retiring).push(Retiring { entry, since: Instant::now(), is_stopped: false });
        self.freed.notify_waiters();
    }

    /// Removes this very entry, not a newer one that has taken its place.
    fn remove(&self, entry: &Arc<Entry>) {
        let mut entries = lock(&self.entries);
        if entries.peek(&entry.tenant).is_some_and(|current| Arc::ptr_eq(current, entry)) {
            entries.pop(&entry.tenant);
            self.freed.notify_waiters();
        }
    }

    /// Retires the least recently used of the pools that `is_ripe` holds for and nobody uses. `None`: there is none.
    fn retire_idle_one(
        &self,
        entries: &mut LruCache<Uuid, Arc<Entry>>,
        reason: PoolEvent,
        is_ripe: impl Fn(&Entry) -> bool,
    ) -> Option<()> {
        let id = least_recently_used(entries, is_ripe)?.tenant;
        self.retire(entries.pop(&id)?, reason);
        Some(())
    }
}

/// Of the pools that nobody uses and `is_ripe` holds for.
fn least_recently_used(
    entries: &LruCache<Uuid, Arc<Entry>>,
    is_ripe: impl Fn(&Entry) -> bool,
) -> Option<&Arc<Entry>> {
    entries.iter().rev().map(|(_, entry)| entry).find(|entry| !entry.is_leased() && is_ripe(entry))
}

impl Reclaim for Shelf {
    /// Idle pools go first, the least recently used before the others; then idle connections of pools in use, from
    /// the pool that has the most.
    fn reclaim(&self, server: Uuid) {
        let mut entries = lock(&self.entries);
        let Some(budget) = entries
            .iter()
            .find(|(_, e)| e.placement.server == server)
            .map(|(_, e)| e.server.budget.clone())
        else {
            return;
        };
        let connections = |e: &Entry| e.pool().map_or(0, Pool::connections);
        let is_ripe = |e: &Entry| e.placement.server == server && connections(e) > 0;
        while budget.shortage() > 0 {
            if let Some(idle) = least_recently_used(&entries, is_ripe) {
                let id = idle.tenant;
                // Before they begin to come.
                budget.expect(connections(idle));
                if let Some(entry) = entries.pop(&id) {
                    self.retire(entry, PoolEvent::Reclaimed);
                }
                continue;
            }
            let richest = entries
                .iter()
                .filter(|(_, e)| e.placement.server == server)
                .filter_map(|(_, e)| e.pool())
                .filter(|pool| pool.idle_connections() as usize > pool.waiting())
                .max_by_key(|pool| pool.connections());
            let Some(richest) = richest else { return };
            budget.expect(1);
            if !richest.close_idle() {
                return;
            }
        }
    }
}

impl Pools {
    pub fn new(settings: &RouterSettings, shelf: Arc<Shelf>, gatekeeper: Arc<Gatekeeper>) -> Self {
        Self {
            shelf,
            gatekeeper,
            max_open: settings.max_open_tenants.max(1),
            limits: PoolLimits {
                max_connections: settings.max_connections_per_tenant,
                acquire_timeout: settings.acquire_timeout,
                idle_timeout: settings.idle_timeout,
            },
            cold_opens: Arc::new(Semaphore::new(settings.max_cold_opens)),
        }
    }

    /// A lease on the tenant's pool, if it has one.
    pub fn lease_open(&self, tenant: &Tenant) -> Option<Lease> {
        let mut entries = lock(&self.shelf.entries);
        let entry = entries.get(&tenant.id)?;
        let usable = !entry.failed.load(Ordering::Acquire) && entry.is_current_for(tenant);
        usable.then(|| self.lease_on(entry.clone()))
    }

    /// A lease on the tenant's pool, opened at `target` if need be.
    pub async fn lease(
        &self,
        tenant: &Tenant,
        deadline: Instant,
        address: &Arc<DatabaseServer>,
        target: Target,
    ) -> Result<Lease, RouterError> {
        loop {
            // Registered before the look, so that a pool freed in between is not missed.
            let mut freed = std::pin::pin!(self.shelf.freed.notified());
            freed.as_mut().enable();
            if let Some(lease) = self.try_lease(tenant, address, &target) {
                return Ok(lease);
            }
            tokio::time::timeout_at(deadline, freed).await.map_err(|_| RouterError::Saturated)?;
        }
    }

    /// `None`: every place is taken by a pool in use.
    fn try_lease(
        &self,
        tenant: &Tenant,
        address: &Arc<DatabaseServer>,
        target: &Target,
    ) -> Option<Lease> {
        let mut entries = lock(&self.shelf.entries);
        if let Some(entry) = entries.get(&tenant.id) {
            let failed = entry.failed.load(Ordering::Acquire);
            if !failed && entry.is_current_for(tenant) {
                return Some(self.lease_on(entry.clone()));
            }
            let old = entries.pop(&tenant.id)?;
            if !failed {
                self.shelf.retire(old, PoolEvent::Moved);
                self.gatekeeper.breakers.forgive(tenant.id);
            }
        }
        if entries.len() >= self.max_open {
            self.shelf.retire_idle_one(&mut entries, PoolEvent::Evicted, |_| true)?;
        }
        let server = self.gatekeeper.server(tenant.server_id);
        let urgent = Arc::<AtomicUsize>::default();
        let (begun, failed) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let gate = self.gatekeeper.gate(tenant.id, &server, &urgent, &begun);
        let target = Target { gate: Some(Arc::new(gate)), ..target.clone() };
        let entry = Arc::new(Entry {
            tenant: tenant.id,
            address: address.clone(),
            placement: Placement::of(tenant),
            server,
            opening: self.begin_opening(target, failed.clone()),
            as_of: tenant.updated_at,
            begun,
            failed,
            leases: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            urgent,
            last_used: Mutex::new(Instant::now()),
        });
        entries.put(tenant.id, entry.clone());
        Some(self.lease_on(entry))
    }

    /// Counted under the lock of the map: a pool chosen for eviction cannot be leased in between.
    fn lease_on(&self, entry: Arc<Entry>) -> Lease {
        entry.leases.fetch_add(1, Ordering::AcqRel);
        entry.waiting.fetch_add(1, Ordering::AcqRel);
        Lease { entry, shared: self.shelf.clone(), is_waiting: true }
    }

    /// Opens in a task of its own: the caller that came first may give up without failing those behind it.
    fn begin_opening(&self, target: Target, failed: Arc<AtomicBool>) -> Opening {
        let (limits, turns, counters) =
            (self.limits.clone(), self.cold_opens.clone(), self.shelf.counters.clone());
        let task = tokio::spawn(async move {
            let turn = turns.acquire_owned().await;
            let opened = Pool::open(target, &limits).await;
            drop(turn);
            failed.store(opened.is_err(), Ordering::Release);
            counters.pool(match &opened {
                Ok(_) => PoolEvent::Opened,
                Err(_) => PoolEvent::OpenFailed,
            });
            opened
        });
        async move {
            task.await.unwrap_or_else(|e| Err(ConnectFailure::Unreachable(e.to_string())))
        }
        .boxed()
        .shared()
    }

    pub fn retire_idle(&self, idle_timeout: Duration) {
        let mut entries = lock(&self.shelf.entries);
        let is_ripe = |e: &Entry| lock(&e.last_used).elapsed() >= idle_timeout;
        while self.shelf.retire_idle_one(&mut entries, PoolEvent::Idle, is_ripe).is_some() {}
    }

    pub fn retire_all(&self) {
        let mut entries = lock(&self.shelf.entries);
        while let Some((_, entry)) = entries.pop_lru() {
            self.shelf.retire(entry, PoolEvent::Shutdown);
        }
    }

    /// Retires the pool of a tenant that may no longer be served, or has moved. A pool that was opened by a newer row
    /// than this one stays.
    pub fn retire_outdated(
        &self,
        tenant: &Tenant,
        address: Option<&DatabaseServer>,
        is_admitted: bool,
    ) {
        let mut entries = lock(&self.shelf.entries);
        let Some(entry) = entries.peek(&tenant.id) else { return };
        let is_right = entry.placement.is_of(tenant) && address == Some(&*entry.address);
        if entry.as_of > tenant.updated_at || (is_admitted && is_right) {
            return;
        }
        if let Some(entry) = entries.pop(&tenant.id) {
            let reason = if is_admitted { PoolEvent::Moved } else { PoolEvent::NotAdmitted };
            self.shelf.retire(entry, reason);
        }
        self.gatekeeper.breakers.forgive(tenant.id);
    }

    /// Retires the pool of a tenant that is no longer in the registry.
    pub fn retire_unknown(&self, id: TenantId) {
        let mut entries = lock(&self.shelf.entries);
        if let Some(entry) = entries.pop(&id.0) {
            self.shelf.retire(entry, PoolEvent::NotAdmitted);
        }
    }

    /// Pools that have been retiring for longer than `patience` are ended by force; those that are closed are
    /// forgotten.
    pub fn end_overdue(&self, patience: Duration) {
        let mut retiring = lock(&self.shelf.retiring);
        retiring.retain(|pool| pool.entry.strong_count() > 0);
        for pool in retiring.iter_mut() {
            if pool.is_stopped || pool.since.elapsed() < patience {
                continue;
            }
            let open = pool.entry.upgrade().and_then(|entry| entry.pool().cloned());
            let Some(open) = open else { continue };
            pool.is_stopped = true;
            self.shelf.counters.pool(PoolEvent::Stopped);
            tokio::spawn(async move {
                if let Err(failure) = open.end_sessions().await {
                    tracing::warn!(%failure, "the sessions of a retired pool could not be ended");
                }
            });
        }
    }

    /// The tenants that have a pool.
    pub fn open_tenants(&self) -> Vec<TenantId> {
        lock(&self.shelf.entries).iter().map(|(id, _)| TenantId(*id)).collect()
    }

    /// A tenant's pool; looking at it does not count as use.
    pub fn view(&self, tenant: TenantId) -> Option<PoolView> {
        let entries = lock(&self.shelf.entries);
        let entry = entries.peek(&tenant.0)?;
        let pool = entry.pool();
        Some(PoolView {
            is_opening: pool.is_none(),
            connections: pool.map_or(0, Pool::connections),
            idle: pool.map_or(0, Pool::idle_connections),
            leases: entry.leases.load(Ordering::Acquire),
            waiting: entry.waiting.load(Ordering::Acquire),
        })
    }

    /// How many pools are in the map, opening ones included.
    pub fn open(&self) -> usize {
        lock(&self.shelf.entries).len()
    }

    pub fn overview(&self) -> Overview {
        let (alive, oldest) = {
            let mut retiring = lock(&self.shelf.retiring);
            retiring.retain(|pool| pool.entry.strong_count() > 0);
            let oldest = retiring.iter().map(|pool| pool.since.elapsed()).max();
            (retiring.len(), oldest.unwrap_or_default())
        };
        let entries = lock(&self.shelf.entries);
        let pools = || entries.iter().filter_map(|(_, e)| e.pool());
        Overview {
            open: entries.len(),
            leases: entries.iter().map(|(_, e)| e.leases.load(Ordering::Acquire)).sum(),
            waiting: entries.iter().map(|(_, e)| e.waiting.load(Ordering::Acquire)).sum(),
            connections: pools().map(Pool::connections).sum(),
            retiring: alive,
            oldest_retiring: oldest,
        }
    }
}
