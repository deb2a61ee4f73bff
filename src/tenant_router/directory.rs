//! Look-ups in the registry, cached until the registry announces a change. The cache is used only
//! while the listener is known to be alive. Otherwise the registry is asked each time, and the
//! cache serves for `router.outage_grace` if the registry does not answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::identifiers::{ServerId, TenantId};
use crate::registry::changes::Change;
use crate::registry::tenants::database_servers::{self, DatabaseServer};
use crate::registry::tenants::phone_numbers::EventTime;
use crate::registry::tenants::{self, Tenant};
use crate::registry::tenants::{domains, phone_numbers};
use crate::registry::{Registry, RegistryError};

/// Limit of cached tenants, of cached hosts and of cached servers.
const CAPACITY: u64 = 100_000;
/// Limit of negative entries for unknown ids. They have a cache of their own, so that a flood of
/// them evicts no tenant.
const UNKNOWN_CAPACITY: u64 = 10_000;
const UNKNOWN_TTL: Duration = Duration::from_secs(60);
/// After this long without a sign of life from the listener, changes may have been missed.
const FRESH_FOR: Duration = Duration::from_millis(800);
/// While the listener is silent, the look-up of a cached tenant waits no longer than this for the
/// registry.
const PATIENCE_WITH_KNOWN: Duration = Duration::from_millis(500);

/// Look-ups of hosts in the registry at the same time.
const HOSTS_AT_ONCE: usize = 2;
/// A look-up is made again if something changes during it, but at most this often.
const MOST_ROUNDS: usize = 8;

/// What can be looked up. The answer stays valid until a change of it is announced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Tenant(TenantId),
    Server(ServerId),
    /// A slug (without a dot) or a domain (with a dot).
    Host(String),
}

/// The answer of a look-up.
#[derive(Clone)]
enum Found {
    Tenant(Arc<Tenant>),
    Server(Arc<DatabaseServer>),
    Holder(TenantId),
    Nobody,
}

/// An error that several callers of one look-up get.
fn shared(error: Arc<RegistryError>) -> RegistryError {
    match &*error {
        RegistryError::Unavailable(reason) => RegistryError::Unavailable(reason.clone()),
        other => RegistryError::Unavailable(other.to_string()),
    }
}

type InFlight = Shared<BoxFuture<'static, Result<Found, Arc<RegistryError>>>>;

/// The number of look-ups since the start, by how they were answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryStatistics {
    /// Answered from the cache.
    pub hits: u64,
    /// Answered by the registry.
    pub misses: u64,
    /// Answered by a negative entry of the cache.
    pub negatives: u64,
    /// Answered from the cache, because the registry did not answer.
    pub in_grace: u64,
    /// Tenants, servers and hosts in the cache; approximate.
    pub known: u64,
    /// Changes that the listener received or that this process made.
    pub changes: u64,
    /// True while the listener is known to be alive.
    pub is_fresh: bool,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    negatives: AtomicU64,
    in_grace: AtomicU64,
    changes: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Finds tenants by id or host, servers by id, and holders by number.
pub struct Directory {
    registry: Registry,
    known: Cache<Key, Found>,
    unknown: Cache<Key, ()>,
    in_flight: Mutex<HashMap<Key, (u64, InFlight)>>,
    /// Raised by every change before the cache is invalidated. An answer that was read under an
    /// older epoch is not cached.
    epoch: AtomicU64,
    /// Milliseconds since `start` at which the listener was last known to have received all
    /// changes; 0: never.
    heard_at: AtomicU64,
    /// Milliseconds since `start` of the last look-up that the registry did not answer.
    failed_at: AtomicU64,
    start: Instant,
    outage_grace: Duration,
    host_turns: Semaphore,
    counters: Counters,
}

impl Directory {
    pub(super) fn new(registry: Registry, ttl: Duration) -> Self {
        let cache = || Cache::builder().max_capacity(CAPACITY).time_to_live(ttl);
        Self {
            outage_grace: registry.outage_grace(),
            registry,
            known: cache().build(),
            unknown: Cache::builder()
                .max_capacity(UNKNOWN_CAPACITY)
                .time_to_live(UNKNOWN_TTL.min(ttl))
                .build(),
            in_flight: Mutex::default(),
            epoch: AtomicU64::new(0),
            heard_at: AtomicU64::new(0),
            failed_at: AtomicU64::new(0),
            start: Instant::now(),
            host_turns: Semaphore::new(HOSTS_AT_ONCE),
            counters: Counters::default(),
        }
    }

    /// The tenant with this id. Concurrent callers share one look-up.
    pub async fn tenant(
        self: &Arc<Self>,
        id: TenantId,
    ) -> Result<Option<Arc<Tenant>>, RegistryError> {
        match self.find(Key::Tenant(id)).await? {
            Found::Tenant(tenant) => Ok(Some(tenant)),
            Found::Server(_) | Found::Holder(_) | Found::Nobody => Ok(None),
        }
    }

    /// The tenant as the registry has it now, without the cache.
    pub(super) async fn refresh(
        self: &Arc<Self>,
        id: TenantId,
    ) -> Result<Option<Arc<Tenant>>, RegistryError> {
        // The cached row stays until the registry has answered: in an outage there is no other
        // source.
        let key = Key::Tenant(id);
        let epoch = self.epoch();
        let load = self.start_load(&mut self.in_flight.lock(), key, epoch);
        match load.await.map_err(shared)? {
            Found::Tenant(tenant) => Ok(Some(tenant)),
            Found::Server(_) | Found::Holder(_) | Found::Nobody => Ok(None),
        }
    }

    /// A counter that every change raises.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// The database server with this id.
    pub(super) async fn server(
        self: &Arc<Self>,
        id: ServerId,
    ) -> Result<Option<Arc<DatabaseServer>>, RegistryError> {
        match self.find(Key::Server(id)).await? {
            Found::Server(server) => Ok(Some(server)),
            Found::Tenant(_) | Found::Holder(_) | Found::Nobody => Ok(None),
        }
    }

    /// The tenant that a slug or a domain belongs to.
    pub(super) async fn holder_of_host(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<Option<TenantId>, RegistryError> {
        match self.find(Key::Host(name.to_owned())).await? {
            Found::Holder(tenant) => Ok(Some(tenant)),
            Found::Tenant(_) | Found::Server(_) | Found::Nobody => Ok(None),
        }
    }

    /// The tenants that hold these numbers. The registry is asked each time: a message must not go
    /// to a previous holder of a number.
    pub async fn holders_of_numbers(
        &self,
        numbers: &[String],
        event: EventTime,
    ) -> Result<Vec<(String, TenantId)>, RegistryError> {
        let db = self.registry.connect().await?;
        phone_numbers::holders_at(&db, numbers, event).await
    }

    /// Removes a tenant from the cache, because this process has just changed it.
    pub fn forget(&self, id: TenantId) {
        self.apply([Change::Tenant(id)]);
    }

    /// Removes changed rows from the cache.
    pub(super) fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for change in changes {
            count(&self.counters.changes);
            let key = match change {
                Change::Tenant(id) => Key::Tenant(id),
                Change::Server(id) => Key::Server(id),
                Change::Host(name) => Key::Host(name),
                Change::Everything => {
                    self.known.invalidate_all();
                    self.unknown.invalidate_all();
                    continue;
                }
            };
            self.known.invalidate(&key);
            self.unknown.invalidate(&key);
        }
    }

    /// Records that the listener has received every change that was committed before `moment`.
    pub(super) fn mark_synced_until(&self, moment: Instant) {
        self.note(&self.heard_at, moment);
    }

    /// Stores `moment` as milliseconds since the start.
    fn note(&self, at: &AtomicU64, moment: Instant) {
        let millis = moment.saturating_duration_since(self.start).as_millis();
        at.store(u64::try_from(millis).unwrap_or(u64::MAX).max(1), Ordering::Release);
    }

    /// The time since a stored moment. `Duration::MAX` if none was stored.
    fn since(&self, at: &AtomicU64) -> Duration {
        match at.load(Ordering::Acquire) {
            0 => Duration::MAX,
            millis => self.start.elapsed().saturating_sub(Duration::from_millis(millis)),
        }
    }

    /// True while the listener is known to be alive.
    pub fn is_fresh(&self) -> bool {
        self.since(&self.heard_at) < FRESH_FOR
    }

    /// The number of look-ups since the start, by how they were answered.
    pub fn statistics(&self) -> DirectoryStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DirectoryStatistics {
            hits: read(&self.counters.hits),
            misses: read(&self.counters.misses),
            negatives: read(&self.counters.negatives),
            in_grace: read(&self.counters.in_grace),
            known: self.known.entry_count(),
            changes: read(&self.counters.changes),
            is_fresh: self.is_fresh(),
        }
    }

    async fn find(self: &Arc<Self>, key: Key) -> Result<Found, RegistryError> {
        let silence = self.since(&self.heard_at);
        if silence < FRESH_FOR {
            if let Some(found) = self.known.get(&key) {
                count(&self.counters.hits);
                return Ok(found);
            }
            if self.unknown.contains_key(&key) {
                count(&self.counters.negatives);
                return Ok(Found::Nobody);
            }
            return self.ask(key).await;
        }
        let known = self.known.get(&key).filter(|_| silence < self.outage_grace);
        let Some(known) = known else {
            return self.ask(key).await;
        };
        if self.since(&self.failed_at) >= PATIENCE_WITH_KNOWN {
            match tokio::time::timeout(PATIENCE_WITH_KNOWN, self.ask(key)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(RegistryError::Unavailable(_))) | Err(_) => {
                    self.note(&self.failed_at, Instant::now());
                }
                Ok(Err(other)) => return Err(other),
            }
        }
        count(&self.counters.in_grace);
        Ok(known)
    }

    /// Asks the registry. Callers that come during the query share its answer, unless something has
    /// changed since it began.
    async fn ask(self: &Arc<Self>, key: Key) -> Result<Found, RegistryError> {
        count(&self.counters.misses);
        let mut rounds = 0;
        loop {
            rounds += 1;
            let epoch = self.epoch.load(Ordering::SeqCst);
            let load = {
                let mut in_flight = self.in_flight.lock();
                match in_flight.get(&key) {
                    Some((begun, load)) if *begun == epoch => load.clone(),
                    _ => self.start_load(&mut in_flight, key.clone(), epoch),
                }
            };
            let answer = load.await;
            // The answer is of another epoch: it was true when the registry was asked, and may be
            // outdated now.
            let has_changed = self.epoch.load(Ordering::SeqCst) != epoch;
            if answer.is_ok() && has_changed && rounds < MOST_ROUNDS {
                continue;
            }
            return answer.map_err(shared);
        }
    }

    /// Loads in a task of its own, so that the first caller can give up without a failure for the
    /// others. The lock is held until the load is listed, because the load removes itself from the
    /// list when it ends.
    fn start_load(
        self: &Arc<Self>,
        in_flight: &mut HashMap<Key, (u64, InFlight)>,
        key: Key,
        epoch: u64,
    ) -> InFlight {
        let (directory, listed) = (self.clone(), key.clone());
        let task = tokio::spawn(async move {
            let read = directory.read(&key).await.map_err(Arc::new);
            if let Ok(found) = &read {
                directory.remember(&key, found, epoch);
            }
            let mut in_flight = directory.in_flight.lock();
            if in_flight.get(&key).is_some_and(|(begun, _)| *begun == epoch) {
                in_flight.remove(&key);
            }
            read
        });
        let lost =
            |e: tokio::task::JoinError| Err(Arc::new(RegistryError::Unavailable(e.to_string())));
        let load = task.map(move |joined| joined.unwrap_or_else(lost)).boxed().shared();
        in_flight.insert(listed, (epoch, load.clone()));
        load
    }

    fn remember(&self, key: &Key, found: &Found, epoch: u64) {
        match found {
            Found::Nobody => {
                self.known.invalidate(key);
                self.unknown.insert(key.clone(), ());
            }
            found => {
                self.unknown.invalidate(key);
                self.known.insert(key.clone(), found.clone());
            }
        }
        // After the insert: a change before this line has raised the epoch, and a later change
        // finds the entry that it has to remove.
        if self.epoch.load(Ordering::SeqCst) != epoch {
            self.known.invalidate(key);
            self.unknown.invalidate(key);
        }
    }

    async fn read(&self, key: &Key) -> Result<Found, RegistryError> {
        // Any client can ask for any host. The limit leaves connections for other look-ups.
        let _permit = match key {
            Key::Host(_) => self.host_turns.acquire().await.ok(),
            Key::Tenant(_) | Key::Server(_) => None,
        };
        let db = self.registry.connect().await?;
        let found = match key {
            Key::Tenant(id) => tenants::find(&db, *id).await?.map(Arc::new).map(Found::Tenant),
            Key::Server(id) => {
                database_servers::find(&db, *id).await?.map(Arc::new).map(Found::Server)
            }
            Key::Host(domain) if domain.contains('.') => {
                domains::holder_of(&db, domain).await?.map(Found::Holder)
            }
            Key::Host(slug) => {
                tenants::find_by_slug(&db, slug).await?.map(|tenant| Found::Holder(tenant.id))
            }
        };
        Ok(found.unwrap_or(Found::Nobody))
    }
}
