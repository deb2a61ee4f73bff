//! What a tenant is called, and its plan.

use serde_json::json;

use crate::audit::{ActorKind, AuditEvent, Origin};
use crate::clock::Clock;
use crate::identifiers::TenantId;
use crate::registry::people::audit_log::{self, TENANT};
use crate::registry::tenants::{self, Tenant, TenantEdit, unproven_tenants};
use crate::registry::{Registry, RegistryError, RegistryTransaction};

/// Why a tenant is not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It is deleted, or there is none.
    #[error("there is no such tenant")]
    NotFound,
    /// It could not be written down.
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
    /// The tenants of this registry.
    pub fn new(registry: Registry, clock: Clock) -> Self {
        Self { registry, clock }
    }

    /// Changes what a tenant is called, or its plan.
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
                // Nothing to tell of; but who may not change it is not shown it either.
                audit_log::uphold(transaction, origin, now).await?;
                return Ok((same, None));
            }
            let detail = json!({
                "organization_name": edit.organization_name,
                "timezone": edit.timezone.as_ref().map(|zone| zone.as_str()),
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

/// A tenant that an operator has taken care of does not end by itself. Its own staff decide nothing about that: they could keep an
/// address that is not theirs.
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
