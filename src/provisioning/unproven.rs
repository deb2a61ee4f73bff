//! Tenants that anybody has registered with an address that nobody has proven to be theirs: after a while they end, so that
//! strangers do not fill the servers, and do not keep the owner of an address from registering. The truth is in the
//! tenant's own database; the registry knows only of whom it is not known yet.

use std::time::Duration;

use sea_orm::DbErr;

use super::{Provisioner, Tools};
use crate::audit::{Act, Actor, Origin};
use crate::identifiers::TenantId;
use crate::registry::people::audit_log::{self, TENANT};
use crate::registry::tenants::{self, email_index, unproven_tenants};
use crate::registry::{RegistryError, roll_back};
use crate::tenant_data::staff;
use crate::tenant_router::RouterError;

/// Between the moment from which nobody can prove the address any more and the last look before the purge: longer than any
/// request takes that was let in before.
const LAST_LOOK_AFTER: Duration = Duration::from_secs(3600);
/// An address is kept for a registration for this long; then another one with it is let in as well, where the first has
/// not proven it.
pub(super) const ADDRESS_KEPT_FOR: Duration = Duration::from_secs(3600);
/// Tenants that are looked at in one go of the job.
const BATCH: i64 = 50;

/// Why a tenant could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAsked {
    #[error(transparent)]
    Router(#[from] RouterError),
    #[error(transparent)]
    Statement(#[from] DbErr),
}

/// Does the tenant's database know of nobody who has proven an address, or has come by an operator or an identity provider?
pub(super) async fn is_unproven(tools: &Tools, id: TenantId) -> Result<bool, NotAsked> {
    let db = tools.router.connect_for_provisioning(id).await?;
    Ok(staff::is_nobody_proven(&db).await?)
}

/// Gives an address free that a registration has and nobody has proven within [`ADDRESS_KEPT_FOR`]. That tenant stays, until
/// it ends by itself. `false`: there is none.
pub(super) async fn free_address(tools: &Tools, email_hash: &[u8]) -> Result<bool, RegistryError> {
    let db = tools.registry.connect().await?;
    let holder = unproven_tenants::holder_of(&db, email_hash, ADDRESS_KEPT_FOR).await?;
    drop(db);
    let Some(holder) = holder else { return Ok(false) };
    match is_unproven(tools, holder).await {
        Ok(true) => {
            let db = tools.registry.connect().await?;
            email_index::give_up_claim(&db, email_hash.to_vec(), holder).await?;
            tracing::info!(tenant = %holder, "an address that was not proven is free for another registration");
            Ok(true)
        }
        Ok(false) => {
            let db = tools.registry.connect().await?;
            unproven_tenants::remove(&db, holder).await?;
            Ok(false)
        }
        Err(error) => {
            tracing::debug!(tenant = %holder, %error, "a tenant could not be asked whether its address is proven");
            Ok(false)
        }
    }
}

impl Provisioner {
    /// Deletes tenants that were registered longer than `provisioning.unproven_lifetime` ago, and of which nobody has proven
    /// an address. Returns how many.
    pub async fn end_unproven(&self) -> Result<usize, RegistryError> {
        let (tools, lifetime) = (&self.tools, self.tools.settings.unproven_lifetime);
        if lifetime.is_zero() {
            return Ok(0);
        }
        let db = tools.registry.connect().await?;
        let due = unproven_tenants::due(&db, lifetime, BATCH).await?;
        drop(db);
        let mut ended = 0;
        for id in due {
            match is_unproven(tools, id).await {
                Ok(true) => ended += usize::from(self.end(id, lifetime).await?),
                Ok(false) => {
                    unproven_tenants::remove(&tools.registry.connect().await?, id).await?;
                }
                Err(error) => {
                    tracing::warn!(tenant = %id, %error, "a tenant could not be asked whether its address is proven; it is asked later");
                    unproven_tenants::put_back(&tools.registry.connect().await?, id).await?;
                }
            }
        }
        Ok(ended)
    }

    async fn end(&self, id: TenantId, lifetime: Duration) -> Result<bool, RegistryError> {
        let (tools, now) = (&self.tools, self.tools.clock.now());
        let transaction = tools.registry.begin().await?;
        // An operator may have done something with it meanwhile.
        let ended = unproven_tenants::hold_due(&transaction, id, lifetime).await?
            && tenants::delete(&transaction, id, now).await?;
        if !ended {
            roll_back(transaction).await?;
            return Ok(false);
        }
        let act = Act::on("tenant.deleted", TENANT, id);
        let act = act.with(serde_json::json!({"reason": "its address was never proven"}));
        audit_log::conclude(transaction, tools.registry.hasher(), &by_itself(), act, now).await?;
        tracing::info!(tenant = %id, "nobody has proven the address of a tenant; it is deleted");
        Ok(true)
    }

    /// Begins the purge of tenants whose time has come because nobody has proven their address, unless somebody just has.
    pub(super) async fn purge_unproven(&self) -> Result<usize, RegistryError> {
        let (tools, lifetime) = (&self.tools, self.tools.settings.unproven_lifetime);
        if lifetime.is_zero() {
            return Ok(0);
        }
        let grace = LAST_LOOK_AFTER.min(tools.settings.deletion_grace);
        let db = tools.registry.connect().await?;
        let ended = unproven_tenants::deleted(&db, lifetime, grace, BATCH).await?;
        drop(db);
        let mut begun = 0;
        for id in ended {
            match is_unproven(tools, id).await {
                Ok(true) => begun += usize::from(self.begin_purge(id, grace).await?),
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
        let (tools, now) = (&self.tools, self.tools.clock.now());
        let transaction = tools.registry.begin().await?;
        if !tenants::restore(&transaction, id, now).await? {
            return roll_back(transaction).await;
        }
        unproven_tenants::remove(&transaction, id).await?;
        let act = Act::on("tenant.restored", TENANT, id);
        let act =
            act.with(serde_json::json!({"reason": "its address was proven at the last moment"}));
        audit_log::conclude(transaction, tools.registry.hasher(), &by_itself(), act, now).await
    }
}

/// No person does it.
fn by_itself() -> Origin {
    Actor::command("narthex").into()
}
