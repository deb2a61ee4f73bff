//! Synchronization of the registry's email index with the tenants. A tenant's database says which
//! user has an address; the index says which tenants to search. An address is in the index before a
//! user gets it and stays there until no user has it, even if a change is interrupted.

use std::time::Duration;

use crate::access::AccessError;
use crate::identifiers::{EmailAddress, TenantId};
use crate::registry::tenants::email_index::{self, AddressStatus, Mark};
use crate::registry::{Registry, RegistryError};
use crate::tenant_data::staff::StaffStatus;
use crate::tenant_data::staff_changes;
use crate::tenant_router::TenantRouter;

/// Longer than any request takes. A request that marked an address this long ago has ended.
const UNSETTLED_FOR: Duration = Duration::from_secs(5 * 60);
const SETTLED_AT_ONCE: i64 = 100;

/// Keeps the index in step with the tenants' databases.
#[derive(Clone)]
pub struct EmailIndexSync {
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
}

impl EmailIndexSync {
    /// Marks an address as pending, before a user gets it or loses it.
    pub(super) async fn mark(
        &self,
        email: &EmailAddress,
        tenant: TenantId,
    ) -> Result<Mark, RegistryError> {
        let registry = self.registry.connect().await?;
        email_index::mark(&registry, self.registry.hasher().email(email), tenant).await
    }

    /// Writes the final status of a marked address. On failure, the periodic job does it later.
    pub(super) async fn settle(
        &self,
        email: &EmailAddress,
        tenant: TenantId,
        mark: Mark,
        standing: AddressStatus,
    ) {
        let settled = async {
            let registry = self.registry.connect().await?;
            let hash = self.registry.hasher().email(email);
            email_index::settle(&registry, hash, tenant, mark, standing).await
        };
        if let Err(error) = settled.await {
            tracing::warn!(%tenant, %error, "an address is not settled yet; a job does it");
        }
    }

    /// Finalizes addresses that stayed pending: asks each tenant whether a user has the address.
    /// Returns the number of finalized addresses.
    pub async fn settle_all(&self) -> Result<usize, RegistryError> {
        let registry = self.registry.connect().await?;
        let due = email_index::unsettled(&registry, UNSETTLED_FOR, SETTLED_AT_ONCE).await?;
        drop(registry);
        let mut settled = 0;
        for address in due {
            let known = async {
                let id = address.tenant_id;
                let Some(tenant) = self.router.directory().tenant(id).await? else {
                    return Ok(None);
                };
                let db = self.router.connect(&tenant).await?;
                let hasher = self.registry.hasher();
                let has_it = |(email, _): &(String, StaffStatus)| {
                    email
                        .parse::<EmailAddress>()
                        .is_ok_and(|email| hasher.email(&email) == address.email_hash)
                };
                let found = staff_changes::addresses(&db).await?.into_iter().find(has_it);
                Ok::<_, AccessError>(Some(match found {
                    None => AddressStatus::Unknown,
                    Some((_, StaffStatus::Invited)) => AddressStatus::Invited,
                    Some(_) => AddressStatus::Staff,
                }))
            };
            match known.await {
                Ok(Some(standing)) => {
                    let registry = self.registry.connect().await?;
                    address.settle(&registry, standing).await?;
                    settled += 1;
                }
                Ok(None) => {}
                // The tenant is suspended or cannot be reached; a later run tries again.
                Err(error) => {
                    tracing::debug!(tenant = %address.tenant_id, %error, "an address stays unsettled");
                    let registry = self.registry.connect().await?;
                    address.put_back(&registry).await?;
                }
            }
        }
        Ok(settled)
    }

    /// Moves an owner's claim to the new address, so that no other person can register with it.
    /// Tried once.
    pub(super) async fn move_claim(
        &self,
        tenant: TenantId,
        old: &EmailAddress,
        new: &EmailAddress,
    ) {
        let moved = async {
            let registry = self.registry.connect().await?;
            let hasher = self.registry.hasher();
            email_index::move_claim(&registry, tenant, hasher.email(old), hasher.email(new)).await
        };
        if let Err(error) = moved.await {
            tracing::warn!(%tenant, %error, "the claim of an owner stays with their old address");
        }
    }
}
