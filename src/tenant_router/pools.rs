//! The open pools: at most so many, the least recently used idle one retired for a newcomer. A retired pool
//! leaves the map at once; its leases end undisturbed, and its connections close with the last of them.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use lru::LruCache;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use uuid::Uuid;

use super::RouterError;
use crate::configuration::RouterSettings;
use crate::postgres::{ConnectFailure, Pool, PoolLimits, Target};
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
}

type Opening = Shared<BoxFuture<'static, Result<Pool, ConnectFailure>>>;

/// One tenant's place in the map, from the moment its opening begins.
struct Entry {
    placement: Placement,
    opening: Opening,
    /// When the registry's row was last changed that this pool was opened by.
    as_of: DateTime<Utc>,
    /// The opening has had its turn. Before that a caller who gives up has waited for other tenants' openings.
    begun: Arc<AtomicBool>,
    /// The opening has failed; whoever comes now tries anew instead of hearing of an old failure.
    failed: Arc<AtomicBool>,
    /// Requests that have this pool or wait for it.
    leases: AtomicUsize,
    last_used: Mutex<Instant>,
}

/// Holds a pool in the map's view: while it lives the pool is in use. Dropped after its connection went back.
pub(super) struct Lease {
    entry: Arc<Entry>,
    freed: Arc<Notify>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        *lock(&self.entry.last_used) = Instant::now();
        if self.entry.leases.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.freed.notify_waiters();
        }
    }
}

/// Why a pool was opened or left the map; counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolEvent {
    /// Opened for the first request of a tenant.
    Opened,
    /// Could not be opened.
    OpenFailed,
    /// Retired to make room for another tenant.
    Evicted,
    /// Retired because nobody had used it for `router.idle_timeout`.
    Idle,
    /// Retired because the tenant's server, database, role or password changed.
    Moved,
    /// Retired at the end of the process.
    Shutdown,
}

#[derive(Default)]
struct Counters {
    events: [AtomicU64; 6],
}

/// A view of the pools at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterStatistics {
    /// Pools in the map, opening ones included.
    pub open: usize,
    /// Requests that have a connection or wait for one.
    pub leases: usize,
    counts: [u64; 6],
}

impl RouterStatistics {
    /// How often something happened since the start.
    pub fn count(&self, event: PoolEvent) -> u64 {
        self.counts[event as usize]
    }
}

pub(super) struct Pools {
    entries: Mutex<LruCache<Uuid, Arc<Entry>>>,
    max_open: usize,
    limits: PoolLimits,
    cold_opens: Arc<Semaphore>,
    freed: Arc<Notify>,
    counters: Arc<Counters>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Counters {
    fn count(&self, event: PoolEvent) {
        self.events[event as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Pools {
    pub(super) fn new(settings: &RouterSettings) -> Self {
        Self {
            // The cap is ours to keep: an LRU that evicts by itself would throw out pools in use.
            entries: Mutex::new(LruCache::unbounded()),
            max_open: NonZeroUsize::new(settings.max_open_tenants).map_or(1, NonZeroUsize::get),
            limits: PoolLimits {
                max_connections: settings.max_connections_per_tenant,
                acquire_timeout: settings.acquire_timeout,
                idle_timeout: settings.idle_timeout,
            },
            cold_opens: Arc::new(Semaphore::new(settings.max_cold_opens)),
            freed: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// A lease on the tenant's pool, opened if need be. `target` is asked only when a pool has to be opened.
    pub(super) async fn lease(
        &self,
        tenant: &Tenant,
        deadline: Instant,
        target: impl Fn() -> Result<Target, RouterError>,
    ) -> Result<(Lease, Pool), RouterError> {
        let lease = loop {
            // Registered before the look, so that a pool freed in between is not missed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(lease) = self.try_lease(tenant, &target)? {
                break lease;
            }
            tokio::time::timeout_at(deadline, freed).await.map_err(|_| RouterError::Saturated)?;
        };
        let opened = tokio::time::timeout_at(deadline, lease.entry.opening.clone()).await;
        match opened {
            Ok(Ok(pool)) => Ok((lease, pool)),
            Ok(Err(failure)) => {
                self.remove(tenant.id, &lease.entry);
                Err(RouterError::Unavailable(failure))
            }
            Err(_) if !lease.entry.begun.load(Ordering::Acquire) => Err(RouterError::Saturated),
            Err(_) => Err(RouterError::Unavailable(ConnectFailure::Timeout)),
        }
    }

    /// `None`: every place is taken by a pool in use.
    fn try_lease(
        &self,
        tenant: &Tenant,
        target: impl Fn() -> Result<Target, RouterError>,
    ) -> Result<Option<Lease>, RouterError> {
        let placement = Placement::of(tenant);
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(&tenant.id) {
            let failed = entry.failed.load(Ordering::Acquire);
            // A caller with an older row than the pool's has only been slow.
            let current = entry.placement == placement || entry.as_of > tenant.updated_at;
            if current && !failed {
                return Ok(Some(self.lease_on(entry.clone())));
            }
            entries.pop(&tenant.id);
            if !failed {
                self.counters.count(PoolEvent::Moved);
            }
        }
        let mut victim = None;
        if entries.len() >= self.max_open {
            let idle = entries.iter().rev().find(|(_, e)| e.leases.load(Ordering::Acquire) == 0);
            let Some((id, _)) = idle else {
                return Ok(None);
            };
            victim = Some(*id);
        }
        // A tenant that cannot even be tried takes nobody's place.
        let target = target()?;
        if let Some(id) = victim {
            entries.pop(&id);
            self.counters.count(PoolEvent::Evicted);
        }
        let (begun, failed) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let entry = Arc::new(Entry {
            placement,
            opening: self.begin_opening(target, begun.clone(), failed.clone()),
            as_of: tenant.updated_at,
            begun,
            failed,
            leases: AtomicUsize::new(0),
            last_used: Mutex::new(Instant::now()),
        });
        entries.put(tenant.id, entry.clone());
        Ok(Some(self.lease_on(entry)))
    }

    /// Counted under the lock of the map: a pool chosen for eviction cannot be leased in between.
    fn lease_on(&self, entry: Arc<Entry>) -> Lease {
        entry.leases.fetch_add(1, Ordering::AcqRel);
        Lease { entry, freed: self.freed.clone() }
    }

    /// Opens in a task of its own: the caller that came first may give up without failing those behind it.
    fn begin_opening(
        &self,
        target: Target,
        begun: Arc<AtomicBool>,
        failed: Arc<AtomicBool>,
    ) -> Opening {
        let (limits, turns, counters) =
            (self.limits.clone(), self.cold_opens.clone(), self.counters.clone());
        let task = tokio::spawn(async move {
            let turn = turns.acquire_owned().await;
            begun.store(true, Ordering::Release);
            let opened = Pool::open(target, &limits).await;
            drop(turn);
            failed.store(opened.is_err(), Ordering::Release);
            counters.count(if opened.is_ok() { PoolEvent::Opened } else { PoolEvent::OpenFailed });
            opened
        });
        async move {
            task.await
                .unwrap_or_else(|e| Err(ConnectFailure::Unreachable(e.to_string())))
        }
        .boxed()
        .shared()
    }

    /// Removes this very entry, not a newer one that has taken its place.
    fn remove(&self, id: Uuid, entry: &Arc<Entry>) {
        let mut entries = lock(&self.entries);
        if entries.peek(&id).is_some_and(|current| Arc::ptr_eq(current, entry)) {
            entries.pop(&id);
            self.freed.notify_waiters();
        }
    }

    pub(super) fn retire_idle(&self, idle_timeout: Duration) {
        let mut entries = lock(&self.entries);
        let idle: Vec<Uuid> = entries
            .iter()
            .filter(|(_, entry)| {
                entry.leases.load(Ordering::Acquire) == 0
                    && lock(&entry.last_used).elapsed() >= idle_timeout
            })
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            entries.pop(&id);
            self.counters.count(PoolEvent::Idle);
            self.freed.notify_waiters();
        }
    }

    pub(super) fn retire_all(&self) {
        let mut entries = lock(&self.entries);
        while entries.pop_lru().is_some() {
            self.counters.count(PoolEvent::Shutdown);
        }
    }

    pub(super) fn statistics(&self) -> RouterStatistics {
        let entries = lock(&self.entries);
        RouterStatistics {
            open: entries.len(),
            leases: entries.iter().map(|(_, e)| e.leases.load(Ordering::Acquire)).sum(),
            counts: std::array::from_fn(|i| self.counters.events[i].load(Ordering::Relaxed)),
        }
    }
}
