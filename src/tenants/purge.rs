//! Deletion of tenants that time out: the purge of deleted tenants after the grace period, and the
//! deletion of tenants without a proven email address.

use std::time::Duration;

use serde_json::json;

use crate::audit::{Actor, AuditEvent, Origin};
use crate::clock::Clock;
use crate::configuration::ProvisioningSettings;
use crate::identifiers::TenantId;
use crate::provisioning::Provisioner;
use crate::provisioning::unproven::is_unproven;
use crate::registry::people::audit_log::{self, TENANT};
use crate::registry::tenants::{self, unproven_tenants};
use crate::registry::{Registry, RegistryError, RegistryTransaction};
use crate::tenant_router::TenantRouter;

/// Largest number of tenants for which one round of the job starts a purge.
const PURGE_BATCH: i64 = 20;
/// Minimum time from the deletion of an unproven tenant to the last check before its purge. It is
/// longer than any request that was admitted before the deletion. A shorter `deletion_grace` counts
/// instead.
const RECHECK_DELAY: Duration = Duration::from_secs(3600);
/// Tenants that one run of the job checks at most.
const BATCH: i64 = 50;

/// Deletes and purges tenants whose time is over.
#[derive(Clone)]
pub struct Purges {
    registry: Registry,
    router: TenantRouter,
    provisioner: Provisioner,
    /// Time in which a deleted tenant can be restored.
    deletion_grace: Duration,
    /// A tenant without a proven address is deleted after this long. Zero: never.
    unproven_lifetime: Duration,
    clock: Clock,
}

impl Purges {
    /// Creates the service for this registry.
    pub fn new(
        registry: Registry,
        router: TenantRouter,
        provisioner: Provisioner,
        settings: &ProvisioningSettings,
        clock: Clock,
    ) -> Self {
        let ProvisioningSettings { deletion_grace, unproven_lifetime, .. } = *settings;
        Self { registry, router, provisioner, deletion_grace, unproven_lifetime, clock }
    }

    /// Starts the purge of every deleted tenant whose grace period is over. Returns the number of
    /// purges.
    pub async fn purge_due(&self) -> Result<usize, RegistryError> {
        let db = self.registry.connect().await?;
        let overdue = tenants::overdue(&db, self.deletion_grace, PURGE_BATCH).await?;
        drop(db);
        let mut begun = 0;
        for tenant in overdue {
            let id = tenant.id;
            begun += usize::from(self.provisioner.begin_purge(id, self.deletion_grace).await?);
        }
        Ok(begun + self.purge_unproven().await?)
    }

    /// Deletes tenants that were registered longer than `provisioning.unproven_lifetime` ago and
    /// have no proven address. Returns the number of tenants.
    pub async fn delete_unproven(&self) -> Result<usize, RegistryError> {
        let lifetime = self.unproven_lifetime;
        if lifetime.is_zero() {
            return Ok(0);
        }
        let db = self.registry.connect().await?;
        let due = unproven_tenants::due(&db, lifetime, BATCH).await?;
        drop(db);
        let mut ended = 0;
        for id in due {
            match is_unproven(&self.router, id).await {
                Ok(true) => ended += usize::from(self.end(id, lifetime).await?),
                Ok(false) => {
                    unproven_tenants::remove(&self.registry.connect().await?, id).await?;
                }
                Err(error) => {
                    tracing::warn!(tenant = %id, %error, "a tenant could not be asked whether its address is proven; it is asked later");
                    unproven_tenants::put_back(&self.registry.connect().await?, id).await?;
                }
            }
        }
        Ok(ended)
    }

    async fn end(&self, id: TenantId, lifetime: Duration) -> Result<bool, RegistryError> {
        let ended = async |transaction: &RegistryTransaction| {
            let now = self.clock.now();
            // An operator may have changed the tenant in the meantime.
            let ended = unproven_tenants::lock_due(transaction, id, lifetime).await?
                && tenants::delete(transaction, id, now).await?;
            let event = AuditEvent::on("tenant.deleted", TENANT, id);
            let event = event.with(json!({"reason": "its address was never proven"}));
            Ok::<_, RegistryError>((ended, ended.then_some(event)))
        };
        let ended =
            audit_log::change(&self.registry, &by_itself(), self.clock.now(), ended).await?;
        if ended {
            tracing::info!(tenant = %id, "nobody has proven the address of a tenant; it is deleted");
        }
        Ok(ended)
    }

    /// Starts the purge of unproven tenants that were deleted long enough ago. A tenant whose
    /// address was proven in the meantime is restored.
    async fn purge_unproven(&self) -> Result<usize, RegistryError> {
        let lifetime = self.unproven_lifetime;
        if lifetime.is_zero() {
            return Ok(0);
        }
        let grace = RECHECK_DELAY.min(self.deletion_grace);
        let db = self.registry.connect().await?;
        let ended = unproven_tenants::deleted(&db, lifetime, grace, BATCH).await?;
        drop(db);
        let mut begun = 0;
        for id in ended {
            match is_unproven(&self.router, id).await {
                Ok(true) => begun += usize::from(self.provisioner.begin_purge(id, grace).await?),
                Ok(false) => self.take_back(id).await?,
                Err(error) => {
                    tracing::debug!(tenant = %id, %error, "a tenant could not be asked whether its address is proven");
                }
            }
        }
        Ok(begun)
    }

    /// Restores a tenant whose address was proven during its deletion.
    async fn take_back(&self, id: TenantId) -> Result<(), RegistryError> {
        let taken_back = async |transaction: &RegistryTransaction| {
            if !tenants::restore(transaction, id, self.clock.now()).await? {
                return Ok(((), None));
            }
            unproven_tenants::remove(transaction, id).await?;
            let event = AuditEvent::on("tenant.restored", TENANT, id);
            let event = event.with(json!({"reason": "its address was proven at the last moment"}));
            Ok::<_, RegistryError>(((), Some(event)))
        };
        audit_log::change(&self.registry, &by_itself(), self.clock.now(), taken_back).await
    }
}

/// The origin of changes that no person requested.
fn by_itself() -> Origin {
    Actor::command("narthex").into()
}
