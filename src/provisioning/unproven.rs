//! Tenants with an unproven address end after a while, so that attackers cannot fill the servers or
//! keep the owner of an address from registering. Whether an address is proven is in the tenant's
//! database; the registry only lists the tenants for which this is unknown.

use std::time::Duration;

use sea_orm::DbErr;

use crate::identifiers::TenantId;
use crate::registry::tenants::{email_index, unproven_tenants};
use crate::registry::{Registry, RegistryError};
use crate::tenant_data::staff;
use crate::tenant_router::{RouterError, TenantRouter};

/// An address is reserved for a registration for this long. After that, another registration with
/// it is accepted if the first has not proven it.
pub(super) const ADDRESS_KEPT_FOR: Duration = Duration::from_secs(3600);

/// Why a tenant's database could not be queried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAsked {
    #[error(transparent)]
    Router(#[from] RouterError),
    #[error(transparent)]
    Statement(#[from] DbErr),
}

/// True if the tenant's database has no member with a proven address, and no member from an
/// operator or an identity provider.
pub(crate) async fn is_unproven(router: &TenantRouter, id: TenantId) -> Result<bool, NotAsked> {
    let db = router.connect_for_provisioning(id).await?;
    Ok(staff::is_nobody_proven(&db).await?)
}

/// Frees an address that a registration holds and has not proven within [`ADDRESS_KEPT_FOR`]. That
/// tenant stays until it ends by itself. `false` if there is no such registration.
pub(super) async fn free_address(
    registry: &Registry,
    router: &TenantRouter,
    email_hash: &[u8],
) -> Result<bool, RegistryError> {
    let db = registry.connect().await?;
    let holder = unproven_tenants::holder_of(&db, email_hash, ADDRESS_KEPT_FOR).await?;
    drop(db);
    let Some(holder) = holder else { return Ok(false) };
    match is_unproven(router, holder).await {
        Ok(true) => {
            let db = registry.connect().await?;
            email_index::give_up_claim(&db, email_hash.to_vec(), holder).await?;
            tracing::info!(tenant = %holder, "an address that was not proven is free for another registration");
            Ok(true)
        }
        Ok(false) => {
            let db = registry.connect().await?;
            unproven_tenants::remove(&db, holder).await?;
            Ok(false)
        }
        Err(error) => {
            tracing::debug!(tenant = %holder, %error, "a tenant could not be asked whether its address is proven");
            Ok(false)
        }
    }
}
