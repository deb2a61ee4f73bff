//! The parts of the pool map: a tenant's entry, the leases on it, and the map that retires entries.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, Shared};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::admission::{Callers, ServerAdmission};
use super::budget::Reclaim;
use super::error::RouterError;
use super::reasons::{Counters, PoolEvent};
use crate::identifiers::{ServerId, TenantId};
use crate::postgres::{ConnectFailure, Pool};
use crate::registry::tenants::Tenant;
use crate::registry::tenants::database_servers::DatabaseServer;

/// A pool that no request has used for this long gives its connections to waiting tenants.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// An opening that got its permit this long ago has been waiting for the database, not for the
/// permit.
const TRIED_FOR_LONG: Duration = Duration::from_secs(1);

/// Where a tenant's connections lead. A pool is outdated if its placement differs from the
/// registry's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub server: ServerId,
    database: String,
    role: String,
    sealed_password: Vec<u8>,
}

impl Placement {
    pub fn of(tenant: &Tenant) -> Self {
        Self {
            server: tenant.server_id,
            database: tenant.database_name.clone(),
            role: tenant.role_name.clone(),
            sealed_password: tenant.sealed_password.clone(),
        }
    }

    pub fn is_of(&self, tenant: &Tenant) -> bool {
        self.server == tenant.server_id
            && self.database == tenant.database_name
            && self.role == tenant.role_name
            && self.sealed_password == tenant.sealed_password
    }
}

/// True if the two rows of one tenant have different endpoints.
pub(super) fn endpoint_changed(before: &Tenant, now: &Tenant) -> bool {
    !Placement::of(before).is_of(now)
}

pub(super) type Opening = Shared<BoxFuture<'static, Result<Pool, ConnectFailure>>>;

/// One tenant's entry in the map, from the moment its opening begins.
pub(super) struct Entry {
    pub tenant: TenantId,
    pub placement: Placement,
    /// The row of the server, as it was when the pool was opened.
    pub address: Arc<DatabaseServer>,
    pub server: Arc<ServerAdmission>,
    pub opening: Opening,
    /// The time of the last change of the tenant's row that this pool was opened from.
    pub as_of: DateTime<Utc>,
    /// When the opening got its permit. A caller that gives up before that has waited for other
    /// tenants' openings.
    pub begun: Arc<OnceLock<Instant>>,
    /// The opening has failed. The next caller tries again instead of getting an old failure.
    pub failed: Arc<AtomicBool>,
    /// Requests that have this pool or wait for it.
    pub leases: AtomicUsize,
    /// Counts the requests that have no connection yet, and those that may use the reserve of the
    /// server's budget.
    pub callers: Callers,
    pub last_used: Mutex<Instant>,
}

impl Entry {
    /// The pool, if its opening has succeeded.
    pub fn pool(&self) -> Option<&Pool> {
        self.opening.peek()?.as_ref().ok()
    }

    fn is_leased(&self) -> bool {
        self.leases.load(Ordering::Acquire) > 0
    }

    /// True if this pool was opened from `tenant`'s row or from a newer version of it. An older row
    /// means only that the caller's copy is stale.
    pub fn is_current_for(&self, tenant: &Tenant) -> bool {
        self.placement.is_of(tenant) || self.as_of > tenant.updated_at
    }
}

/// Pins an entry: a pool with a lease is not evicted. It must be dropped after its connection went
/// back to the pool.
pub(super) struct Lease {
    pub entry: Arc<Entry>,
    pub shared: Arc<PoolMap>,
    pub is_waiting: bool,
}

impl Lease {
    /// The pool, as soon as it is open. Fails at the deadline.
    pub(super) async fn pool(&self, deadline: Instant) -> Result<&Pool, RouterError> {
        if self.entry.opening.peek().is_none() {
            let opened = tokio::time::timeout_at(deadline, self.entry.opening.clone()).await;
            if opened.is_err() {
                return Err(match self.entry.begun.get() {
                    Some(begun) if begun.elapsed() >= TRIED_FOR_LONG => {
                        RouterError::Unavailable(ConnectFailure::Timeout)
                    }
                    // Most of that time was spent on a permit or on room on the server.
                    _ => RouterError::Saturated,
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

    /// The holder of the lease has a connection now and needs no opening any more.
    pub(super) fn served(&mut self) {
        if !std::mem::take(&mut self.is_waiting) {
            return;
        }
        let waiting = self.entry.callers.waiting.fetch_sub(1, Ordering::AcqRel) - 1;
        let budget = &self.entry.server.budget;
        if budget.is_short() {
            budget.withdraw(&self.entry.callers.urgent, waiting);
        }
    }

    /// While the returned value lives, a connection of this tenant may be opened from the reserve
    /// of the server's budget.
    pub(super) fn urgently(&self) -> Urgency {
        self.entry.callers.urgent.fetch_add(1, Ordering::AcqRel);
        if self.entry.server.budget.is_short() {
            self.entry.server.budget.grant();
        }
        Urgency(self.entry.callers.urgent.clone())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.served();
        *self.entry.last_used.lock() = Instant::now();
        if self.entry.leases.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.freed.notify_waiters();
        }
        if self.entry.server.budget.is_short() {
            self.entry.server.budget.ask_for_reclaim();
        }
    }
}

/// A caller that may use the reserve. Counted until it is dropped.
pub(super) struct Urgency(Arc<AtomicUsize>);

impl Drop for Urgency {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A pool that has left the map and is not closed yet.
pub(super) struct Retiring {
    pub entry: Weak<Entry>,
    pub since: Instant,
    /// When the server was last told to end the pool's sessions.
    pub stopped: Option<Instant>,
}

/// The map and the retiring pools, shared by the leases, the reclaim and `Pools`.
pub(super) struct PoolMap {
    pub entries: Mutex<LruCache<TenantId, Arc<Entry>>>,
    pub retiring: Mutex<Vec<Retiring>>,
    /// Notifies waiters when a pool has lost its last lease or a place in the map came free.
    pub freed: Notify,
    pub counters: Arc<Counters>,
}

impl PoolMap {
    pub fn new(counters: Arc<Counters>) -> Self {
        Self {
            // The map enforces the limit itself: an `LruCache` with a limit would drop pools in
            // use.
            entries: Mutex::new(LruCache::unbounded()),
            retiring: Mutex::default(),
            freed: Notify::new(),
            counters,
        }
    }

    /// Retires an entry that was taken out of the map. The caller holds the lock of the map.
    pub fn retire(&self, entry: Arc<Entry>, reason: PoolEvent) {
        self.counters.pool(reason);
        // A holder whose connection dies gets no new one: the tenant may have moved.
        if let Some(pool) = entry.pool() {
            pool.retire();
        }
        let entry = Arc::downgrade(&entry);
        self.retiring.lock().push(Retiring { entry, since: Instant::now(), stopped: None });
        self.freed.notify_waiters();
    }

    /// Removes this very entry, not a newer one that has replaced it.
    fn remove(&self, entry: &Arc<Entry>) {
        let mut entries = self.entries.lock();
        if entries.peek(&entry.tenant).is_some_and(|current| Arc::ptr_eq(current, entry)) {
            entries.pop(&entry.tenant);
            self.freed.notify_waiters();
        }
    }

    /// Retires the least recently used pool that has no lease and for which `is_evictable` is true.
    /// `None` if there is none.
    pub fn retire_idle_one(
        &self,
        entries: &mut LruCache<TenantId, Arc<Entry>>,
        reason: PoolEvent,
        is_evictable: impl Fn(&Entry) -> bool,
    ) -> Option<()> {
        let id = least_recently_used(entries, is_evictable)?.tenant;
        self.retire(entries.pop(&id)?, reason);
        Some(())
    }
}

/// The least recently used pool among those that have no lease and for which `is_evictable` is
/// true.
fn least_recently_used(
    entries: &LruCache<TenantId, Arc<Entry>>,
    is_evictable: impl Fn(&Entry) -> bool,
) -> Option<&Arc<Entry>> {
    entries
        .iter()
        .rev()
        .map(|(_, entry)| entry)
        .find(|entry| !entry.is_leased() && is_evictable(entry))
}

impl Reclaim for PoolMap {
    /// Idle pools go first, the least recently used before the others. Then idle connections of
    /// pools in use are closed, from the pool that has the most connections.
    fn reclaim(&self, server: ServerId) {
        let mut entries = self.entries.lock();
        let Some(budget) = entries
            .iter()
            .find(|(_, e)| e.placement.server == server)
            .map(|(_, e)| e.server.budget.clone())
        else {
            return;
        };
        let connections = |e: &Entry| e.pool().map_or(0, Pool::connections);
        let may_give = |e: &Entry| {
            let is_idle = !e.is_leased() && e.last_used.lock().elapsed() >= IDLE_AFTER;
            is_idle || budget.may_take_from(e.tenant)
        };
        let is_evictable =
            |e: &Entry| e.placement.server == server && connections(e) > 0 && may_give(e);
        while budget.shortage() > 0 {
            if let Some(idle) = least_recently_used(&entries, is_evictable) {
                let (id, places) = (idle.tenant, connections(idle));
                if places as usize > budget.shortage() {
                    budget.expect(1);
                    if idle.pool().is_some_and(Pool::close_idle) {
                        continue;
                    }
                    return;
                }
                // Before the connections begin to close.
                budget.expect(places);
                if let Some(entry) = entries.pop(&id) {
                    self.retire(entry, PoolEvent::Reclaimed);
                }
                continue;
            }
            let richest = entries
                .iter()
                .filter(|(_, e)| e.placement.server == server && may_give(e))
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
