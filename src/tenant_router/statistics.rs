//! The state of the router at one moment, for operators and metrics. Reading it changes nothing.

use std::time::Duration;

use super::breaker::BreakerFailure;
use super::budget::BudgetUse;
use super::directory::DirectoryStatistics;
use super::pools::PoolView;
use super::reasons::{PoolEvent, Refusal};
use super::router::{TenantRouter, has_supported_schema};
use crate::identifiers::{ServerId, TenantId};
use crate::registry::tenants::Tenant;

/// A view of the router at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterStatistics {
    /// Pools in the map, opening ones included.
    pub open: usize,
    /// Pools that have left the map and still have a lease.
    pub retiring: usize,
    /// How long the oldest retiring pool has been retiring. Zero if there is none.
    pub oldest_retiring: Duration,
    /// Connections of the pools in the map.
    pub connections: u32,
    /// Requests that have a connection or wait for one.
    pub leases: usize,
    /// Requests among `leases` that have no connection yet.
    pub waiting: usize,
    /// Requests that were tried again with a newer address or password.
    pub retries: u64,
    /// The number of tenants whose circuit breaker is open, then of those whose breaker is
    /// half-open.
    pub failing_tenants: (usize, usize),
    /// The number of look-ups, by how they were answered.
    pub directory: DirectoryStatistics,
    /// The servers that the router has used since the start.
    pub servers: Vec<ServerStatistics>,
    pools: [u64; PoolEvent::ALL.len()],
    refusals: [u64; Refusal::ALL.len()],
}

/// The state of one database server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatistics {
    /// The server's id in the registry.
    pub id: ServerId,
    /// The use of the server's connection budget.
    pub budget: BudgetUse,
    /// The failure of the server's circuit breaker. `None` if the server works.
    pub trouble: Option<BreakerFailure>,
}

impl RouterStatistics {
    /// How often `event` happened since the start.
    pub fn count(&self, event: PoolEvent) -> u64 {
        self.pools[event as usize]
    }

    /// How often a request was refused for this reason since the start.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal as usize]
    }
}

impl TenantRouter {
    /// The open pools, the reasons of openings and retirements, and the refused requests.
    pub fn statistics(&self) -> RouterStatistics {
        let inner = &self.inner;
        let overview = inner.pools.overview();
        let breakers = &inner.admission.breakers;
        let servers = inner.admission.servers().into_iter().map(|server| ServerStatistics {
            id: server.id,
            budget: server.budget.usage(),
            trouble: breakers.failure_of_server(server.id),
        });
        RouterStatistics {
            open: overview.open,
            retiring: overview.retiring,
            oldest_retiring: overview.oldest_retiring,
            connections: overview.connections,
            leases: overview.leases,
            waiting: overview.waiting,
            retries: inner.counters.retries(),
            failing_tenants: breakers.failing_tenants(),
            directory: inner.directory.statistics(),
            servers: servers.collect(),
            pools: inner.counters.pools(),
            refusals: inner.counters.refusals(),
        }
    }

    /// The number of tenants that have an open pool, opening ones included.
    pub fn open_pools(&self) -> usize {
        self.inner.pools.open()
    }

    /// A tenant's pool, if it has one. The call does not count as use of the pool.
    pub fn pool_of(&self, tenant: TenantId) -> Option<PoolView> {
        self.inner.pools.view(tenant)
    }

    /// True if the tenant's schema has every migration that this program needs.
    pub fn supports_schema_of(&self, tenant: &Tenant) -> bool {
        has_supported_schema(tenant)
    }

    /// The failure of a server's circuit breaker. `None` if the server works.
    pub fn failure_of_server(&self, server: ServerId) -> Option<BreakerFailure> {
        self.inner.admission.breakers.failure_of_server(server)
    }

    /// The failure of a tenant's circuit breaker. `None` if the tenant's database works.
    pub fn failure_of(&self, tenant: TenantId) -> Option<BreakerFailure> {
        self.inner.admission.breakers.failure_of_tenant(tenant)
    }
}
