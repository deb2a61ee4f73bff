//! The fleet: access to the servers as administrator, and whether a server takes new tenants.

use std::sync::Arc;

use serde_json::json;

use super::admin_pool::AdminPool;
use super::reconcile::{FindingKind, Reconciler};
use super::server_health::ServerHealth;
use super::statistics::{FleetStatistics, WarmCounts};
use super::template;
use crate::audit::{AuditEvent, Origin};
use crate::clock::Clock;
use crate::configuration::ProvisioningSettings;
use crate::identifiers::ServerId;
use crate::lifecycle::Lifecycle;
use crate::postgres::administration::AdminServer;
use crate::registry::people::audit_log;
use crate::registry::tenants::database_servers::{self, DatabaseServer, State};
use crate::registry::tenants::{REGISTRY_SERVER, warm_databases};
use crate::registry::{Registry, RegistryError, RegistryTransaction};
use crate::tenant_router::{RouterError, TenantRouter};

/// The database servers. Clones share all state.
#[derive(Clone)]
pub struct Fleet {
    pub(super) registry: Registry,
    router: TenantRouter,
    health: ServerHealth,
    admin_pool: AdminPool,
    reconciler: Reconciler,
    pub(super) warm: Arc<WarmCounts>,
    pub(super) warm_target: u64,
    pub(super) life: Lifecycle,
    pub(super) clock: Clock,
}

impl Fleet {
    /// Creates the fleet of this registry.
    pub fn new(
        registry: Registry,
        router: TenantRouter,
        settings: &ProvisioningSettings,
        life: Lifecycle,
        clock: Clock,
    ) -> Self {
        Self {
            health: ServerHealth::default(),
            admin_pool: AdminPool::default(),
            reconciler: Reconciler::new(registry.clone(), router.clone(), clock.clone()),
            warm: Arc::default(),
            warm_target: settings.spares,
            registry,
            router,
            life,
            clock,
        }
    }

    /// The ownership tag of this installation.
    pub fn mark(&self) -> String {
        self.registry.mark()
    }

    /// Administrative access to a server.
    pub fn server(&self, row: &DatabaseServer) -> Result<AdminServer, RouterError> {
        self.router.administration(row)
    }

    /// The servers that failed recently.
    pub fn health(&self) -> &ServerHealth {
        &self.health
    }

    /// Administrative connections that wait for their next use.
    pub fn admin_pool(&self) -> &AdminPool {
        &self.admin_pool
    }

    /// The comparison of the servers with the registry.
    pub fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }

    /// Builds the template database for the current schema on the registry's server, if it does not
    /// exist.
    pub async fn prepare(&self) -> Result<(), RegistryError> {
        Ok(template::ensure(self.registry.server()).await?)
    }

    /// Sets whether a server takes new tenants, and optionally how many tenants it may have.
    pub async fn change_server(
        &self,
        server: ServerId,
        state: State,
        max_tenants: Option<i32>,
        origin: &Origin,
    ) -> Result<(), RegistryError> {
        let changed = async |transaction: &RegistryTransaction| {
            if let Some(max_tenants) = max_tenants {
                database_servers::change_limit(transaction, server, max_tenants).await?;
            }
            database_servers::change_state(transaction, server, state).await?;
            let event = AuditEvent::on("server.changed", "server", server);
            Ok::<_, RegistryError>((
                (),
                event.with(json!({"state": state, "max_tenants": max_tenants})),
            ))
        };
        audit_log::change(&self.registry, origin, self.clock.now(), changed).await
    }

    /// Reads the numbers of ready warm databases from the registry.
    pub async fn refresh_statistics(&self) -> Result<(), RegistryError> {
        let db = self.registry.connect().await?;
        let spares = warm_databases::ready_by_server(&db).await?;
        let spares = spares.into_iter().map(|(id, ready)| (id, u64::try_from(ready).unwrap_or(0)));
        self.warm.set(spares.collect());
        Ok(())
    }

    /// The current numbers, without a query. The series of the registry's own server exist from the
    /// start; those of another server exist after the first [`Fleet::refresh_statistics`].
    pub fn statistics(&self) -> FleetStatistics {
        let mut spares = self.warm.get();
        spares.entry(REGISTRY_SERVER).or_default();
        let counts = self.reconciler().findings().counts();
        let count = |kind, server| counts.get(&(kind, server)).copied().unwrap_or_default();
        let findings = spares
            .keys()
            .flat_map(|id| FindingKind::ALL.map(|kind| (kind, *id, count(kind, *id))))
            .collect();
        FleetStatistics { spares: spares.into_iter().collect(), findings }
    }
}
