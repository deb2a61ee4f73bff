//! The fleet: how a server is administered, and whether it takes new tenants.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::admin_pool::AdminPool;
use super::reconcile::{FindingKind, Reconciler};
use super::server_health::ServerHealth;
use super::statistics::{FleetStatistics, WarmCounts};
use super::template;
use crate::audit::{AuditEvent, Origin};
use crate::clock::Clock;
use crate::configuration::ProvisioningSettings;
use crate::lifecycle::Lifecycle;
use crate::postgres::administration::AdminServer;
use crate::registry::people::audit_log;
use crate::registry::tenants::database_servers::{self, DatabaseServer, State};
use crate::registry::tenants::{REGISTRY_SERVER, warm_databases};
use crate::registry::{Registry, RegistryError, RegistryTransaction};
use crate::tenant_router::{RouterError, TenantRouter};

/// The database servers. Clones share everything.
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
    /// The fleet of this registry.
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

    /// What is made for this installation bears this mark.
    pub fn mark(&self) -> String {
        self.registry.mark()
    }

    /// How a server is administered.
    pub fn server(&self, row: &DatabaseServer) -> Result<AdminServer, RouterError> {
        self.router.administration(row)
    }

    /// Which servers did not answer a moment ago.
    pub fn health(&self) -> &ServerHealth {
        &self.health
    }

    /// Connections for administration that wait for their next use.
    pub fn admin_pool(&self) -> &AdminPool {
        &self.admin_pool
    }

    /// Compares the servers with the registry.
    pub fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }

    /// Builds the template database that tenants are copied from, if there is none for this schema yet.
    pub async fn prepare(&self) -> Result<(), RegistryError> {
        Ok(template::ensure(self.registry.server()).await?)
    }

    /// Says whether a server takes new tenants, and perhaps how many.
    pub async fn change_server(
        &self,
        server: Uuid,
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

    /// Asks the registry for the numbers that it alone knows.
    pub async fn refresh_statistics(&self) -> Result<(), RegistryError> {
        let db = self.registry.connect().await?;
        let spares = warm_databases::ready_by_server(&db).await?;
        let spares = spares.into_iter().map(|(id, ready)| (id, u64::try_from(ready).unwrap_or(0)));
        self.warm.set(spares.collect());
        Ok(())
    }

    /// The numbers as they are known here. Every series is there from the start; those of a server but the registry's
    /// own from the first look at the registry.
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
