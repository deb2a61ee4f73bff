//! The phone numbers of tenants.

use serde_json::json;

use super::edit::{Tenants, keep};
use crate::audit::{AuditEvent, Origin};
use crate::identifiers::{LineNumber, TenantId};
use crate::registry::inbox::parked_events;
use crate::registry::people::audit_log::{self, TENANT};
use crate::registry::tenants::phone_numbers::{self, NotAssigned};
use crate::registry::{RegistryError, RegistryTransaction};

/// Reason why a number is not assigned.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// The tenant cannot have this number.
    #[error(transparent)]
    NotAssigned(#[from] NotAssigned),
    /// The registry could not be read or written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Tenants {
    /// Assigns a number to a tenant and makes its parked events due. Returns the number of these
    /// events.
    pub async fn assign_number(
        &self,
        tenant: TenantId,
        number: &LineNumber,
        origin: &Origin,
    ) -> Result<u64, AssignError> {
        let now = self.clock.now();
        let assigned = async |transaction: &RegistryTransaction| {
            phone_numbers::assign(transaction, number, tenant, now).await??;
            let history = phone_numbers::history(transaction, number).await?;
            let hash = self.registry.hasher().phone_number(number.as_str());
            let comes = |event| history.holder(event) == Some(tenant);
            let made_due = parked_events::make_due(transaction, hash, comes, now).await?;
            keep(transaction, tenant, origin).await?;
            let event = AuditEvent::on("phone_number.assigned", TENANT, tenant);
            Ok::<_, AssignError>((made_due, event.with(json!({"number": number.as_str()}))))
        };
        audit_log::change(&self.registry, origin, now, assigned).await
    }

    /// Releases a number of a tenant. Returns `false` if the tenant does not have it.
    pub async fn release_number(
        &self,
        tenant: TenantId,
        number: &LineNumber,
        origin: &Origin,
    ) -> Result<bool, RegistryError> {
        let now = self.clock.now();
        let released = async |transaction: &RegistryTransaction| {
            if !phone_numbers::release(transaction, number, tenant, now).await? {
                return Ok((false, None));
            }
            keep(transaction, tenant, origin).await?;
            let event = AuditEvent::on("phone_number.released", TENANT, tenant);
            Ok::<_, RegistryError>((true, Some(event.with(json!({"number": number.as_str()})))))
        };
        audit_log::change(&self.registry, origin, now, released).await
    }
}
