//! The reconciler: compares the contents of the database servers with the registry, in both
//! directions, and reports the differences. It corrects none of them: an operator decides about
//! each finding. The job also sets the connection limit of tenants' roles.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::clock::Clock;
use crate::postgres::administration::{AdministrationError, ServerContents, ServerLock};
use crate::registry::tenants::database_servers::{self, DatabaseServer};
use crate::registry::tenants::inventory::{self, Entry};
use crate::registry::{Registry, RegistryError};
use crate::tenant_router::{RouterError, TENANT_GROUP, TenantRouter};

mod drop_orphan;
mod finding;
mod finding_tracker;

pub use drop_orphan::{DropOrphanError, Dropped};
pub use finding::{Finding, FindingKind};
use finding_tracker::FindingTracker;

/// A server that does not report its contents within this time counts as unreachable.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Reason why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The registry could not be read, so the expected contents are unknown.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The request for the lock failed. The lock lets only one replica at a time compare.
    #[error(transparent)]
    Administration(#[from] AdministrationError),
}

/// Reason why the connection limit of roles could not be set.
#[derive(Debug, thiserror::Error)]
enum RoleLimitError {
    #[error(transparent)]
    Router(#[from] RouterError),
    #[error(transparent)]
    Administration(#[from] AdministrationError),
}

/// Compares the servers with the registry. Clones share the findings.
#[derive(Clone)]
pub struct Reconciler {
    registry: Registry,
    router: TenantRouter,
    findings: Arc<FindingTracker>,
    clock: Clock,
}

impl Reconciler {
    /// A reconciler without findings.
    pub fn new(registry: Registry, router: TenantRouter, clock: Clock) -> Self {
        Self { registry, router, findings: Arc::default(), clock }
    }

    /// The findings that still hold.
    pub fn findings(&self) -> &FindingTracker {
        &self.findings
    }

    /// Compares every server with the registry. The servers are read first and the registry second,
    /// because a row is written before its database or role is created, and removed after it is
    /// dropped. Each finding is then checked on the server a second time, because a row can be
    /// written and removed between the two reads.
    pub async fn reconcile(&self) -> Result<Vec<Finding>, RegistryError> {
        let db = self.registry.connect().await?;
        let servers = database_servers::list(&db).await?;
        drop(db);
        let servers: Vec<_> = servers.into_iter().map(|occupied| occupied.server).collect();
        let seen = join_all(servers.iter().map(|server| self.read_contents(server))).await;
        let db = self.registry.connect().await?;
        let entries = inventory::read(&db).await?;
        drop(db);
        let looked_at = servers.iter().zip(seen);
        let found =
            looked_at.map(|(server, seen)| self.compare_and_confirm(server, seen, &entries));
        Ok(join_all(found).await.concat())
    }

    /// As [`Reconciler::reconcile`], on one replica at a time. New findings are logged once, and
    /// all findings are reported in the metrics. Returns `None` if another replica holds the lock.
    /// Also sets the connection limit of tenants' roles.
    pub async fn reconcile_exclusively(&self) -> Result<Option<Vec<Finding>>, ReconcileError> {
        let mut permit = self.registry.server().administer().await?;
        if !permit.try_lock(ServerLock::Reconcile).await? {
            return Ok(None);
        }
        self.limit_roles().await?;
        let found = self.reconcile().await?;
        permit.close().await;
        self.findings.report(&found);
        Ok(Some(found))
    }

    /// Sets the current connection limit on tenants' roles that have none or a lower one. A server
    /// that cannot be administered is skipped with a warning; the comparison reports it as
    /// unreachable.
    async fn limit_roles(&self) -> Result<(), RegistryError> {
        let db = self.registry.connect().await?;
        let servers = database_servers::list(&db).await?;
        drop(db);
        let limit = self.router.role_connection_limit();
        for row in servers.into_iter().map(|occupied| occupied.server) {
            let work = async {
                let mut administration = self.router.administration(&row)?.administer().await?;
                let changed =
                    administration.limit_connections(&self.registry.mark(), limit).await?;
                administration.close().await;
                Ok::<_, RoleLimitError>(changed)
            };
            match tokio::time::timeout(TIMEOUT, work).await {
                Ok(Ok(0)) => {}
                Ok(Ok(changed)) => {
                    tracing::info!(
                        server = row.name,
                        changed,
                        limit,
                        "roles of tenants have a limit on their connections"
                    );
                }
                Ok(Err(error)) => {
                    tracing::warn!(server = row.name, %error, "roles of tenants could not be limited");
                }
                Err(_) => {
                    tracing::warn!(server = row.name, "roles of tenants were not limited in time");
                }
            }
        }
        Ok(())
    }

    async fn compare_and_confirm(
        &self,
        server: &DatabaseServer,
        seen: Result<ServerContents, String>,
        entries: &[Entry],
    ) -> Vec<Finding> {
        let away = |reason: String| vec![Finding::unreachable(server, reason)];
        let contents = match seen {
            Ok(contents) => contents,
            Err(reason) => return away(reason),
        };
        let mut found = finding::compare(server, &contents, entries);
        if !found.is_empty() {
            match self.read_contents(server).await {
                Ok(contents) => found.retain(|finding| finding.still_holds(&contents)),
                Err(reason) => return away(reason),
            }
        }
        found
    }

    async fn read_contents(&self, server: &DatabaseServer) -> Result<ServerContents, String> {
        let look = async {
            let way = self.router.administration(server).map_err(|e| e.to_string())?;
            let mut administration = way.administer().await.map_err(|e| e.to_string())?;
            let contents = administration.contents(&self.registry.mark(), TENANT_GROUP).await;
            administration.close().await;
            contents.map_err(|e| e.to_string())
        };
        let silent = |_| format!("it did not answer within {} s", TIMEOUT.as_secs());
        tokio::time::timeout(TIMEOUT, look).await.map_err(silent)?
    }
}
