//! The operations that operators perform on runs, by the API and by command. Each is recorded in
//! one transaction with its changes.

use serde_json::json;

use super::create_tenant::{NewOwner, NewTenant};
use super::definitions::Definition;
use super::input::{Input, ReprovisionInput};
use super::provisioner::{Planned, Provisioner, Started};
use crate::audit::{AuditEvent, Origin};
use crate::identifiers::RunId;
use crate::registry::people::audit_log::{self, TENANT};
use crate::registry::runs::provisioning_runs::{self, NotCancelled, RunKind, TenantBusy};
use crate::registry::tenants::{self, unproven_tenants};
use crate::registry::{RegistryError, RegistryTransaction};
use crate::sealing::SealingError;

/// The target kind of an audit event on a run.
const RUN: &str = "run";

/// Why a tenant is not repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Another run of the tenant is open.
    #[error(transparent)]
    Busy(#[from] TenantBusy),
    /// Only a tenant that is active, suspended or failed can be repaired.
    #[error("a tenant that is {0:?} cannot be mended")]
    Status(tenants::Status),
    /// The run could not be recorded.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Why a run is not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The run has ended, or cannot be undone.
    #[error(transparent)]
    NotCancelled(#[from] NotCancelled),
    /// The cancellation could not be recorded.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<SealingError> for RepairError {
    fn from(error: SealingError) -> Self {
        Self::Registry(error.into())
    }
}

impl Provisioner {
    /// Plans the repair of a tenant. The run creates role, database, rights, schema and seed where
    /// they are missing.
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
        let tenant_id = tenant.id;
        let definition = Definition::newest(RunKind::ReprovisionTenant);
        let plan = definition.plan(&self.services, tenant_id, Some(&input))?;
        let run_id = plan.id;
        let (label, now) = (origin.actor.label(), self.services.clock.now());
        let planned = Planned { run_id, tenant_id, owner_id };
        let written = async |transaction: &RegistryTransaction| {
            plan.write(transaction, &label, now).await??;
            // A tenant that an operator repairs must not end by itself.
            unproven_tenants::remove(transaction, tenant_id).await?;
            Ok::<_, RepairError>((planned, planned.event("tenant.mending_begun")))
        };
        audit_log::change(&self.services.registry, origin, now, written).await
    }

    /// Plans a tenant for an operator, and starts the run.
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

    /// Makes the next attempt of a run due now. `false` if the run has ended or does not exist.
    pub async fn retry_run(&self, run: RunId, origin: &Origin) -> Result<bool, RegistryError> {
        let label = origin.actor.label();
        let retried = async |transaction: &RegistryTransaction| {
            let is_due = provisioning_runs::retry_now(transaction, run, &label).await?;
            let event = AuditEvent::on("run.retried", RUN, run);
            Ok::<_, RegistryError>((is_due, is_due.then_some(event)))
        };
        let (registry, now) = (&self.services.registry, self.services.clock.now());
        audit_log::change(registry, origin, now, retried).await
    }

    /// Requests that a run is undone instead of finished.
    pub async fn cancel_run(&self, run: RunId, origin: &Origin) -> Result<(), CancelError> {
        let (label, now) = (origin.actor.label(), self.services.clock.now());
        let cancelled = async |transaction: &RegistryTransaction| {
            provisioning_runs::cancel(transaction, run, &label, now).await??;
            Ok::<_, CancelError>(((), AuditEvent::on("run.cancelled", RUN, run)))
        };
        audit_log::change(&self.services.registry, origin, now, cancelled).await
    }
}

impl Planned {
    /// The audit event for an action on this run.
    fn event(&self, action: &'static str) -> AuditEvent {
        AuditEvent::on(action, TENANT, self.tenant_id).with(json!({"run_id": self.run_id}))
    }
}
