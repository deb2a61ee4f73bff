//! Reconciles an organization: tenant, staff and email index become what the facts say. The event
//! that led here is no input, so its type and its number do not matter.

use std::sync::Arc;

use sea_orm::{DbErr, TransactionSession, TransactionTrait};

use super::staff_sync::PassedOver;
use super::{ClerkWebhooks, tenant};
use crate::postgres::failure;
use crate::registry::inbox::clerk::{self, Organization};
use crate::registry::runs::provisioning_runs::{self, RunStatus};
use crate::registry::tenants::{self, Status};
use crate::registry::{RegistryError, RegistryTransaction};
use crate::tenant_router::RouterError;

/// The outcome of reconciling an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reconciled {
    /// Everything agrees with the facts.
    Done,
    /// The same, except for members who cannot be staff.
    PassedOver(PassedOver),
    /// The tenant is being created.
    BeingMade,
    /// The tenant is suspended or deleted. The changes wait until it is active again.
    Closed,
}

/// Why an organization could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Another delivery or replica holds the organization's lock.
    #[error("another delivery for the organization is being worked on")]
    Busy,
    /// The run that creates the tenant has failed.
    #[error("the tenant could not be made: {0}")]
    RunFailed(String),
    /// An account that is not Clerk's has the address of a user of Clerk. The value is the users'
    /// ids.
    #[error(
        "{n} member(s) have the email address of an account of the tenant that is not Clerk's, and Clerk has not verified that it is theirs",
        n = .0.len()
    )]
    Unproven(Vec<String>),
    /// The tenant's database cannot be reached, or is busy.
    #[error("the tenant's database is not available: {0}")]
    TenantUnavailable(String),
    /// The tenant's database refused a statement.
    #[error("the tenant's database refused a statement: {0}")]
    StatementFailed(String),
    /// The registry failed or could not be reached.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The work did not end within its time limit.
    #[error("it took too long")]
    TookTooLong,
}

impl From<RouterError> for ReconcileError {
    fn from(error: RouterError) -> Self {
        match error {
            RouterError::Registry(error) => Self::Registry(error),
            other => Self::TenantUnavailable(other.to_string()),
        }
    }
}

impl ReconcileError {
    fn of_registry(error: DbErr) -> Self {
        Self::Registry(error.into())
    }

    pub(super) fn of_tenant(error: DbErr) -> Self {
        if failure::is_unavailable(&error) {
            Self::TenantUnavailable(error.to_string())
        } else {
            Self::StatementFailed(error.to_string())
        }
    }
}

impl ClerkWebhooks {
    /// Reconciles an organization if it has open changes. A lock admits one at a time, over all
    /// replicas.
    pub(super) async fn reconcile(&self, id: &str) -> Result<Reconciled, ReconcileError> {
        let db = self.registry.connect().await?;
        let is_settled = |o: &Organization| o.changes <= o.settled || !o.created_seen;
        if clerk::find(&db, id).await?.is_none_or(|organization| is_settled(&organization)) {
            return Ok(Reconciled::Done);
        }
        let transaction = db.begin().await.map_err(ReconcileError::of_registry)?;
        if !clerk::lock(&transaction, id).await? {
            transaction.rollback().await.map_err(ReconcileError::of_registry)?;
            return Err(ReconcileError::Busy);
        }
        let settled = match clerk::find(&transaction, id).await? {
            // Another process has reconciled it meanwhile.
            None => Ok(Reconciled::Done),
            Some(organization) if is_settled(&organization) => Ok(Reconciled::Done),
            Some(organization) => self.settle_locked(&transaction, &organization).await,
        };
        match settled {
            Ok(settled) => {
                transaction.commit().await.map_err(ReconcileError::of_registry)?;
                Ok(settled)
            }
            // The changes of the other members are kept.
            Err(unproven @ ReconcileError::Unproven(_)) => {
                transaction.commit().await.map_err(ReconcileError::of_registry)?;
                Err(unproven)
            }
            Err(error) => {
                // If the connection has failed, it is closed anyway.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn settle_locked(
        &self,
        transaction: &RegistryTransaction,
        organization: &Organization,
    ) -> Result<Reconciled, ReconcileError> {
        let id = &organization.id;
        let Some(tenant_id) = organization.tenant_id else {
            if organization.deleted {
                clerk::settled(transaction, id, organization.changes).await?;
                return Ok(Reconciled::Done);
            }
            let planned = tenant::plan(&self.provisioner, transaction, organization).await?;
            // The lock prevents this. If it ever fails to, no second tenant is created.
            if !clerk::link_tenant(transaction, id, planned.tenant_id, planned.run_id).await? {
                return Err(ReconcileError::Busy);
            }
            return Ok(Reconciled::BeingMade);
        };
        let found = tenants::find(transaction, tenant_id).await?;
        match found.as_ref().map(|tenant| tenant.status) {
            Some(Status::Active) => {}
            Some(Status::Suspended | Status::Deleted | Status::Purging) => {
                return Ok(Reconciled::Closed);
            }
            Some(Status::Purged) => {
                clerk::settled(transaction, id, organization.changes).await?;
                return Ok(Reconciled::Done);
            }
            Some(Status::Pending | Status::Provisioning | Status::Failed) | None => {
                return being_made(transaction, organization).await;
            }
        }
        let Some(tenant) = found.map(Arc::new) else { return Ok(Reconciled::BeingMade) };
        let members = if organization.deleted {
            tracing::warn!(organization = %id, tenant = %tenant.id, "Clerk has deleted an organization; its staff are disabled, and the tenant is left for a person to decide about");
            Vec::new()
        } else {
            clerk::members_of(transaction, self.registry.sealer(), id).await?
        };
        let created_by = organization.created_by.as_deref();
        let written = self.write_staff(&tenant, &members, created_by).await?;
        self.write_registry(transaction, organization, &tenant, &written).await?;
        if !written.unproven.is_empty() {
            return Err(ReconcileError::Unproven(written.unproven));
        }
        clerk::settled(transaction, id, organization.changes).await?;
        if written.passed_over.is_empty() {
            return Ok(Reconciled::Done);
        }
        let PassedOver { unreachable, banned } = &written.passed_over;
        tracing::warn!(organization = %id, tenant = %tenant.id, ?unreachable, ?banned, "members of an organization of Clerk are not on the staff: without an email address that is known, or banned");
        Ok(Reconciled::PassedOver(written.passed_over))
    }
}

/// The outcome for a tenant that does not exist: still being created, or failed.
async fn being_made(
    transaction: &RegistryTransaction,
    organization: &Organization,
) -> Result<Reconciled, ReconcileError> {
    let Some(run) = organization.run_id else { return Ok(Reconciled::Closed) };
    let found = provisioning_runs::find(transaction, run).await?;
    match found {
        Some((run, _)) if run.status == RunStatus::Failed => Err(ReconcileError::RunFailed(
            run.error_detail.or(run.error_code).unwrap_or_else(|| "no reason is known".to_owned()),
        )),
        _ => Ok(Reconciled::BeingMade),
    }
}
