//! What the router is doing, at one moment: for operators and metrics. Looking changes nothing.

use std::time::Duration;

use uuid::Uuid;

use super::breaker::BreakerFailure;
use super::budget::BudgetUse;
use super::directory::DirectoryStatistics;
use super::pools::PoolView;
use super::reasons::{PoolEvent, Refusal};
use super::router::{TenantRouter, has_supported_schema};
use crate::identifiers::TenantId;
use crate::registry::tenants::Tenant;

/// A view of the router at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterStatistics {
    /// Pools in the map, opening ones included.
    pub open: usize,
    /// Pools that have left the map and still have a lease.
    pub retiring: usize,
    /// How long the oldest of them has been retiring.
    pub oldest_retiring: Duration,
    /// Connections of the pools in the map.
    pub connections: u32,
    /// Requests that have a connection or wait for one.
    pub leases: usize,
    /// Of these, those that have no connection yet.
    pub waiting: usize,
    /// Requests that were tried again with a newer address or password.
    pub retries: u64,
    /// Tenants whose breaker is open, and half-open.
    pub failing_tenants: (usize, usize),
    /// How look-ups were answered.
    pub directory: DirectoryStatistics,
    /// The servers that tenants were looked for on.
    pub servers: Vec<ServerStatistics>,
    pools: [u64; PoolEvent::ALL.len()],
    refusals: [u64; Refusal::ALL.len()],
}

/// One database server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatistics {
    /// Its id in the registry.
    pub id: Uuid,
    /// Its connections.
    pub budget: BudgetUse,
    /// What is wrong with it, if anything.
    pub trouble: Option<BreakerFailure>,
}

impl RouterStatistics {
    /// How often something happened to a pool since the start.
    pub fn count(&self, event: PoolEvent) -> u64 {
        self.pools[event as usize]
    }

    /// How often a request was refused for this reason since the start.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal as usize]
    }
}

impl TenantRouter {
    /// What is open, why it was opened and closed, and who was refused.
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

    /// How many tenants have an open pool.
    pub fn open_pools(&self) -> usize {
        self.inner.pools.open()
    }

    /// A tenant's pool, if it has one. Does not count as use.
    pub fn pool_of(&self, tenant: TenantId) -> Option<PoolView> {
        self.inner.pools.view(tenant)
    }

    /// Has the tenant's schema all that this program needs?
    pub fn supports_schema_of(&self, tenant: &Tenant) -> bool {
        has_supported_schema(tenant)
    }

    /// What is wrong with a database server, if anything.
    pub fn failure_of_server(&self, server: Uuid) -> Option<BreakerFailure> {
        self.inner.admission.breakers.failure_of_server(server)
    }

    /// What is wrong with a tenant's database, if anything.
    pub fn failure_of(&self, tenant: TenantId) -> Option<BreakerFailure> {
        self.inner.admission.breakers.failure_of_tenant(tenant.0)
    }
}
