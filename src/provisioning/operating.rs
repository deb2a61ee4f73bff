//! What operators do to tenants, their numbers, runs and servers, by the API and by command: each written down in one
//! transaction with what it changes.

use serde_json::json;
use uuid::Uuid;

use super::definitions::Definition;
use super::input::{Input, ReprovisionInput};
use super::{NewOwner, NewTenant, Planned, Provisioner, Started};
use crate::audit::{Act, Origin};
use crate::identifiers::{LineNumber, TenantId};
use crate::registry::inbox::parked_events;
use crate::registry::people::audit_log::{self, TENANT};
use crate::registry::runs::provisioning_runs::{self, NotCancelled, RunKind, TenantBusy};
use crate::registry::tenants::database_servers::{self, State};
use crate::registry::tenants::phone_numbers::{self, NotAssigned};
use crate::registry::tenants::unproven_tenants;
use crate::registry::tenants::{self, TenantEdit};
use crate::registry::{RegistryError, RegistryTransaction, roll_back};

/// What an act on a run has as the kind of its target.
const RUN: &str = "run";

/// Why a tenant is not mended.
#[derive(Debug, thiserror::Error)]
pub enum NotMended {
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

impl Provisioner {
    /// Plans the mending of a tenant: role, database, rights, schema and preseed are made where they are missing.
    pub async fn mend(
        &self,
        tenant: &tenants::Tenant,
        owner: Option<&NewOwner>,
        accept_empty: bool,
        origin: &Origin,
    ) -> Result<Planned, NotMended> {
        use tenants::Status;
        if !matches!(tenant.status, Status::Active | Status::Suspended | Status::Failed) {
            return Err(NotMended::Status(tenant.status));
        }
        let owner = owner.map(NewOwner::as_input);
        let owner_id = owner.as_ref().map(|owner| owner.id);
        let status = sea_orm::ActiveEnum::to_value(&tenant.status);
        let input = Input::Reprovision(ReprovisionInput { status, accept_empty, owner });
        let tenant_id = TenantId(tenant.id);
        let definition = Definition::newest(RunKind::ReprovisionTenant);
        let plan = definition.plan(&self.tools, tenant_id, Some(&input))?;
        let run_id = plan.id;
        let (label, now) = (origin.actor.label(), self.tools.clock.now());
        let transaction = self.tools.registry.begin().await?;
        if let Err(busy) = plan.write(&transaction, &label, now).await? {
            roll_back(transaction).await?;
            return Err(busy.into());
        }
        let planned = Planned { run_id, tenant_id, owner_id };
        self.conclude_plan(transaction, planned, "tenant.mending_begun", origin).await?;
        Ok(planned)
    }

    /// Plans a tenant that an operator wants, and begins with it.
    pub async fn create_for(
        &self,
        new: &NewTenant,
        origin: &Origin,
    ) -> Result<Started, RegistryError> {
        let transaction = self.tools.registry.begin().await?;
        let planned = self.plan_for(&transaction, new, &origin.actor.label()).await?;
        self.conclude_plan(transaction, planned, "tenant.creation_begun", origin).await?;
        Ok(self.begin(planned))
    }

    /// Ends the transaction in which a run of a tenant was planned.
    pub(super) async fn conclude_plan(
        &self,
        transaction: RegistryTransaction,
        planned: Planned,
        action: &'static str,
        origin: &Origin,
    ) -> Result<(), RegistryError> {
        let act = Act::on(action, TENANT, planned.tenant_id);
        self.conclude(transaction, origin, act.with(json!({"run_id": planned.run_id}))).await
    }

    /// Changes what a tenant is called, or its plan. `None`: it is deleted, or there is none.
    pub async fn edit_tenant(
        &self,
        tenant: TenantId,
        edit: TenantEdit,
        origin: &Origin,
    ) -> Result<Option<tenants::Tenant>, RegistryError> {
        let transaction = self.tools.registry.begin().await?;
        let now = self.tools.clock.now();
        let found = tenants::find(&transaction, tenant).await?;
        if let Some(same) = found.filter(|found| edit.is_done(found)) {
            // Nothing to tell of; but who may not change it is not shown it either.
            let judged = audit_log::uphold(&transaction, origin, now).await;
            roll_back(transaction).await?;
            return judged.map(|()| Some(same));
        }
        let detail = json!({
            "organization_name": edit.organization_name,
            "timezone": edit.timezone.as_ref().map(|zone| zone.as_str()),
            "plan": edit.plan,
        });
        let Some(edited) = tenants::edit(&transaction, tenant, edit, now).await? else {
            roll_back(transaction).await?;
            return Ok(None);
        };
        let act = Act::on("tenant.changed", TENANT, tenant).with(detail);
        self.conclude(transaction, origin, act).await?;
        Ok(Some(edited))
    }

    /// Gives a number to a tenant, and makes the waiting events due that are the tenant's by it. Returns how many there
    /// are.
    pub async fn assign_number(
        &self,
        tenant: TenantId,
        number: &LineNumber,
        origin: &Origin,
    ) -> Result<Result<u64, NotAssigned>, RegistryError> {
        let (registry, now) = (&self.tools.registry, self.tools.clock.now());
        let transaction = registry.begin().await?;
        if let Err(refused) = phone_numbers::assign(&transaction, number, tenant, now).await? {
            roll_back(transaction).await?;
            return Ok(Err(refused));
        }
        let history = phone_numbers::history(&transaction, number).await?;
        let hash = registry.hasher().phone_number(number.as_str());
        let comes = |event| history.holder(event) == Some(tenant);
        let hastened = parked_events::hasten(&transaction, hash, comes, now).await?;
        let act = Act::on("phone_number.assigned", TENANT, tenant);
        let act = act.with(json!({"number": number.as_str()}));
        self.conclude(transaction, origin, act).await?;
        Ok(Ok(hastened))
    }

    /// Takes a number away from a tenant. `false`: it does not hold it.
    pub async fn release_number(
        &self,
        tenant: TenantId,
        number: &LineNumber,
        origin: &Origin,
    ) -> Result<bool, RegistryError> {
        let transaction = self.tools.registry.begin().await?;
        let now = self.tools.clock.now();
        if !phone_numbers::release(&transaction, number, tenant, now).await? {
            roll_back(transaction).await?;
            return Ok(false);
        }
        let act = Act::on("phone_number.released", TENANT, tenant);
        let act = act.with(json!({"number": number.as_str()}));
        self.conclude(transaction, origin, act).await?;
        Ok(true)
    }

    /// Makes the next attempt of a run due now. `false`: it has ended, or there is none.
    pub async fn retry_run(&self, run: Uuid, origin: &Origin) -> Result<bool, RegistryError> {
        let transaction = self.tools.registry.begin().await?;
        if !provisioning_runs::retry_now(&transaction, run, &origin.actor.label()).await? {
            roll_back(transaction).await?;
            return Ok(false);
        }
        self.conclude(transaction, origin, Act::on("run.retried", RUN, run)).await?;
        Ok(true)
    }

    /// Has a run undone instead of finished.
    pub async fn cancel_run(
        &self,
        run: Uuid,
        origin: &Origin,
    ) -> Result<Result<(), NotCancelled>, RegistryError> {
        let (label, now) = (origin.actor.label(), self.tools.clock.now());
        let transaction = self.tools.registry.begin().await?;
        let cancelled = provisioning_runs::cancel(&transaction, run, &label, now).await?;
        if cancelled.is_err() {
            roll_back(transaction).await?;
            return Ok(cancelled);
        }
        self.conclude(transaction, origin, Act::on("run.cancelled", RUN, run)).await?;
        Ok(cancelled)
    }

    /// Says whether a server takes new tenants, and perhaps how many.
    pub async fn change_server(
        &self,
        server: Uuid,
        state: State,
        max_tenants: Option<i32>,
        origin: &Origin,
    ) -> Result<(), RegistryError> {
        let transaction = self.tools.registry.begin().await?;
        if let Some(max_tenants) = max_tenants {
            database_servers::change_limit(&transaction, server, max_tenants).await?;
        }
        database_servers::change_state(&transaction, server, state).await?;
        let act = Act::on("server.changed", "server", server);
        let act = act.with(json!({"state": state, "max_tenants": max_tenants}));
        self.conclude(transaction, origin, act).await
    }

    async fn conclude(
        &self,
        transaction: RegistryTransaction,
        origin: &Origin,
        act: Act,
    ) -> Result<(), RegistryError> {
        let (hasher, now) = (self.tools.registry.hasher(), self.tools.clock.now());
        // What an operator takes care of does not end by itself.
        if let Some((TENANT, id)) = &act.target
            && let Ok(id) = id.parse()
        {
            unproven_tenants::remove(&transaction, TenantId(id)).await?;
        }
        audit_log::conclude(transaction, hasher, origin, act, now).await
    }
}
