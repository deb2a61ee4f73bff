//! Changes of a tenant's name, time zone and plan.

use serde_json::json;

use crate::audit::{ActorKind, AuditEvent, Origin};
use crate::clock::Clock;
use crate::identifiers::{TenantId, Timezone};
use crate::registry::people::audit_log::{self, TENANT};
use crate::registry::tenants::{self, Tenant, TenantEdit, unproven_tenants};
use crate::registry::{Registry, RegistryError, RegistryTransaction};

/// Reason why a tenant is not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The tenant is deleted or does not exist.
    #[error("there is no such tenant")]
    NotFound,
    /// The registry could not be read or written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Changes tenants in the registry.
#[derive(Clone)]
pub struct Tenants {
    pub(super) registry: Registry,
    pub(super) clock: Clock,
}

impl Tenants {
    /// Creates the service for this registry.
    pub fn new(registry: Registry, clock: Clock) -> Self {
        Self { registry, clock }
    }

    /// Changes the tenant's name, time zone or plan.
    pub async fn edit(
        &self,
        tenant: TenantId,
        edit: TenantEdit,
        origin: &Origin,
    ) -> Result<Tenant, EditError> {
        let now = self.clock.now();
        let edited = async |transaction: &RegistryTransaction| {
            let found = tenants::find(transaction, tenant).await?;
            if let Some(same) = found.filter(|found| edit.is_done(found)) {
                // No change, so no audit entry. But the caller's right is still checked before the
                // tenant is returned.
                audit_log::uphold(transaction, origin, now).await?;
                return Ok((same, None));
            }
            let detail = json!({
                "organization_name": edit.organization_name,
                "timezone": edit.timezone.as_ref().map(Timezone::as_str),
                "plan": edit.plan,
            });
            let edited = tenants::edit(transaction, tenant, edit, now).await?;
            let edited = edited.ok_or(EditError::NotFound)?;
            keep(transaction, tenant, origin).await?;
            let event = AuditEvent::on("tenant.changed", TENANT, tenant).with(detail);
            Ok::<_, EditError>((edited, Some(event)))
        };
        audit_log::change(&self.registry, origin, now, edited).await
    }
}

/// An operator's change to a tenant protects it from automatic deletion as unproven. A change by
/// the tenant's own staff does not: the staff could otherwise keep an address that is not theirs.
pub(super) async fn keep(
    transaction: &RegistryTransaction,
    tenant: TenantId,
    origin: &Origin,
) -> Result<(), RegistryError> {
    match origin.actor.kind {
        ActorKind::Operator | ActorKind::Command => {
            unproven_tenants::remove(transaction, tenant).await
        }
        _ => Ok(()),
    }
}
