//! Why pools were opened and closed, and why requests were refused. Each reason is counted.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All variants, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// A stable name for metrics and logs.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

counted! {
    /// Why a pool was opened or left the map.
    PoolEvent {
        /// Opened for the first request of a tenant.
        Opened "opened",
        /// The first connection of the pool could not be opened.
        OpenFailed "open_failed",
        /// Retired to make room for another tenant.
        Evicted "evicted",
        /// Retired because other tenants needed its connections.
        Reclaimed "reclaimed",
        /// Retired because no request had used it for `router.idle_timeout`.
        Idle "idle",
        /// Retired because the tenant's server, database, role or password changed.
        Moved "moved",
        /// Retired because the tenant may not be served any more.
        NotAdmitted "not_admitted",
        /// Retired at the end of the process.
        Shutdown "shutdown",
        /// Ended by force, `router.retire_timeout` after it was retired.
        Stopped "stopped",
    }
}

counted! {
    /// Why a request got no connection.
    Refusal {
        /// There is no such tenant.
        Unknown "unknown",
        /// An operator has suspended the tenant.
        Suspended "suspended",
        /// The tenant is deleted, being purged or purged.
        Deleted "deleted",
        /// The tenant's database is being made.
        Provisioning "provisioning",
        /// The tenant's database could not be made.
        Failed "failed",
        /// The tenant's schema is too old.
        SchemaOutdated "schema_outdated",
        /// No room for a pool, no permit of the server's budget, or no permit to open a pool came
        /// free in time.
        Saturated "saturated",
        /// No connection of the tenant's pool came free in time.
        PoolBusy "pool_busy",
        /// The database could not be reached.
        Unavailable "unavailable",
        /// The database failed a moment ago, and its circuit breaker is open.
        BackingOff "backing_off",
        /// The connection led to the wrong database.
        WrongIdentity "wrong_identity",
        /// The registry did not answer.
        Registry "registry",
    }
}

/// The number of pool events, refusals and retries since the start.
pub(super) struct Counters {
    pools: [AtomicU64; PoolEvent::ALL.len()],
    refusals: [AtomicU64; Refusal::ALL.len()],
    retries: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            pools: std::array::from_fn(|_| AtomicU64::new(0)),
            refusals: std::array::from_fn(|_| AtomicU64::new(0)),
            retries: AtomicU64::new(0),
        }
    }
}

impl Counters {
    pub fn pool(&self, event: PoolEvent) {
        self.pools[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn refusal(&self, refusal: Refusal) {
        self.refusals[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that is tried again with a newer address or password.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    pub fn pools(&self) -> [u64; PoolEvent::ALL.len()] {
        std::array::from_fn(|at| self.pools[at].load(Ordering::Relaxed))
    }

    pub fn refusals(&self) -> [u64; Refusal::ALL.len()] {
        std::array::from_fn(|at| self.refusals[at].load(Ordering::Relaxed))
    }
}
