//! The end of tenants: of those that were deleted and whose time for being restored is over, and of those of which nobody has proven
//! an address.

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

/// Tenants that are purged in one go of the job.
const PURGE_BATCH: i64 = 20;
/// Between the moment from which nobody can prove the address any more and the last look before the purge: longer than any
/// request takes that was let in before.
const LAST_LOOK_AFTER: Duration = Duration::from_secs(3600);
/// Tenants that are looked at in one go of the job.
const BATCH: i64 = 50;

/// Ends tenants whose time is over.
#[derive(Clone)]
pub struct Purges {
    registry: Registry,
    router: TenantRouter,
    provisioner: Provisioner,
    /// For so long a deleted tenant can be restored.
    deletion_grace: Duration,
    /// After so long a tenant ends of which nobody has proven an address. Zero: never.
    unproven_lifetime: Duration,
    clock: Clock,
}

impl Purges {
    /// The purges of this registry.
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

    /// Begins the purge of every tenant whose time for being restored is over. Returns how many.
    pub async fn purge_due(&self) -> Result<usize, RegistryError> {
        let db = self.registry.connect().await?;
        let overdue = tenants::overdue(&db, self.deletion_grace, PURGE_BATCH).await?;
        drop(db);
        let mut begun = 0;
        for tenant in overdue {
            let id = TenantId(tenant.id);
            begun += usize::from(self.provisioner.begin_purge(id, self.deletion_grace).await?);
        }
        Ok(begun + self.purge_unproven().await?)
    }

    /// Deletes tenants that were registered longer than `provisioning.unproven_lifetime` ago, and of which nobody has proven
    /// an address. Returns how many.
    pub async fn end_unproven(&self) -> Result<usize, RegistryError> {
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
            // An operator may have done something with it meanwhile.
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

    /// Begins the purge of tenants whose time has come because nobody has proven their address, unless somebody just has.
    async fn purge_unproven(&self) -> Result<usize, RegistryError> {
        let lifetime = self.unproven_lifetime;
        if lifetime.is_zero() {
            return Ok(0);
        }
        let grace = LAST_LOOK_AFTER.min(self.deletion_grace);
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

    /// Somebody has proven the address while the tenant was being deleted.
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

/// No person does it.
fn by_itself() -> Origin {
    Actor::command("narthex").into()
}
