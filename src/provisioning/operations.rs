//! What operators do with runs, by the API and by command: each written down in one transaction with what it changes.

use serde_json::json;
use uuid::Uuid;

use super::create_tenant::{NewOwner, NewTenant};
use super::definitions::Definition;
use super::input::{Input, ReprovisionInput};
use super::provisioner::{Planned, Provisioner, Started};
use crate::audit::{AuditEvent, Origin};
use crate::identifiers::TenantId;
use crate::registry::people::audit_log::{self, TENANT};
use crate::registry::runs::provisioning_runs::{self, NotCancelled, RunKind, TenantBusy};
use crate::registry::tenants::{self, unproven_tenants};
use crate::registry::{RegistryError, RegistryTransaction};
use crate::sealing::SealingError;

/// What an act on a run has as the kind of its target.
const RUN: &str = "run";

/// Why a tenant is not mended.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Another run of the tenant goes on.
    #[error(transparent)]
    Busy(#[from] TenantBusy),
    /// Only a tenant that is active, suspended or failed can be mended.
    #[error("a tenant that is {0:?} cannot be mended")]
    Status(tenants::Status),
    /// It could not be written down.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Why a run is not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// It has ended, or cannot be undone.
    #[error(transparent)]
    NotCancelled(#[from] NotCancelled),
    /// It could not be written down.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<SealingError> for RepairError {
    fn from(error: SealingError) -> Self {
        Self::Registry(error.into())
    }
}

impl Provisioner {
    /// Plans the mending of a tenant: role, database, rights, schema and preseed are made where they are missing.
    pub async fn repair(
        &self,
        tenant: &tenants::Tenant,
        owner: Option<&NewOwner>,
        accept_empty: bool,
        origin: &Origin,
    ) -> Result<Planned, RepairError> {
        use tenants::Status;
        if !matches!(tenant.status, Status::Active | Status::Suspended | Status::Failed) {
            return Err(RepairError::Status(tenant.status));
        }
        let owner = owner.map(NewOwner::as_input);
        let owner_id = owner.as_ref().map(|owner| owner.id);
        let status = sea_orm::ActiveEnum::to_value(&tenant.status);
        let input = Input::Reprovision(ReprovisionInput { status, accept_empty, owner });
        let tenant_id = TenantId(tenant.id);
        let definition = Definition::newest(RunKind::ReprovisionTenant);
        let plan = definition.plan(&self.services, tenant_id, Some(&input))?;
        let run_id = plan.id;
        let (label, now) = (origin.actor.label(), self.services.clock.now());
        let planned = Planned { run_id, tenant_id, owner_id };
        let written = async |transaction: &RegistryTransaction| {
            plan.write(transaction, &label, now).await??;
            // What an operator takes care of does not end by itself.
            unproven_tenants::remove(transaction, tenant_id).await?;
            Ok::<_, RepairError>((planned, planned.event("tenant.mending_begun")))
        };
        audit_log::change(&self.services.registry, origin, now, written).await
    }

    /// Plans a tenant that an operator wants, and begins with it.
    pub async fn create_for(
        &self,
        new: &NewTenant,
        origin: &Origin,
    ) -> Result<Started, RegistryError> {
        let written = async |transaction: &RegistryTransaction| {
            let planned = self.plan_for(transaction, new, &origin.actor.label()).await?;
            unproven_tenants::remove(transaction, planned.tenant_id).await?;
            Ok::<_, RegistryError>((planned, planned.event("tenant.creation_begun")))
        };
        let (registry, now) = (&self.services.registry, self.services.clock.now());
        let planned = audit_log::change(registry, origin, now, written).await?;
        Ok(self.begin(planned))
    }

    /// Makes the next attempt of a run due now. `false`: it has ended, or there is none.
    pub async fn retry_run(&self, run: Uuid, origin: &Origin) -> Result<bool, RegistryError> {
        let label = origin.actor.label();
        let retried = async |transaction: &RegistryTransaction| {
            let is_due = provisioning_runs::retry_now(transaction, run, &label).await?;
            let event = AuditEvent::on("run.retried", RUN, run);
            Ok::<_, RegistryError>((is_due, is_due.then_some(event)))
        };
        let (registry, now) = (&self.services.registry, self.services.clock.now());
        audit_log::change(registry, origin, now, retried).await
    }

    /// Has a run undone instead of finished.
    pub async fn cancel_run(&self, run: Uuid, origin: &Origin) -> Result<(), CancelError> {
        let (label, now) = (origin.actor.label(), self.services.clock.now());
        let cancelled = async |transaction: &RegistryTransaction| {
            provisioning_runs::cancel(transaction, run, &label, now).await??;
            Ok::<_, CancelError>(((), AuditEvent::on("run.cancelled", RUN, run)))
        };
        audit_log::change(&self.services.registry, origin, now, cancelled).await
    }
}

impl Planned {
    /// The entry that tells of it.
    fn event(&self, action: &'static str) -> AuditEvent {
        AuditEvent::on(action, TENANT, self.tenant_id).with(json!({"run_id": self.run_id}))
    }
}
