//! Administration of staff: roles, suspensions, removals, and resets of lost second factors.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::email_index_sync::EmailIndexSync;
use super::sessions::Sessions;
use crate::access::{AccessError, Authenticator, Principal, from_access_causes};
use crate::audit::{AuditEvent, Origin};
use crate::clock::Clock;
use crate::identifiers::{EmailAddress, TenantId};
use crate::registry::tenants::Tenant;
use crate::registry::tenants::email_index::AddressStatus;
use crate::tenant_data::rights::Rights;
use crate::tenant_data::staff::StaffMember;
use crate::tenant_data::staff_changes::{self, StaffChanges, StaffError};
use crate::tenant_data::{second_factor, staff};
use crate::tenant_router::{TenantRouter, TenantTransaction};

/// Reason why a change of the staff is refused.
#[derive(Debug, thiserror::Error)]
pub enum StaffAdministrationError {
    /// Callers remove their own second factor with password and code instead.
    #[error("the caller's own second factor is taken off with password and code")]
    OwnSecondFactor,
    /// The account has no second factor.
    #[error("there is no second factor")]
    NoSecondFactor,
    /// The change of the staff is refused.
    #[error(transparent)]
    Staff(#[from] StaffError),
    /// The caller is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(StaffAdministrationError);

/// Changes, suspends and removes members of staff.
#[derive(Clone)]
pub struct StaffAdministration {
    pub(super) access: Authenticator,
    pub(super) router: TenantRouter,
    pub(super) sessions: Sessions,
    pub(super) index: EmailIndexSync,
    pub(super) clock: Clock,
}

impl StaffAdministration {
    /// Changes a member of staff. A change of status ends all of that person's sessions.
    pub async fn change(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        changes: StaffChanges,
        by: &Principal,
    ) -> Result<StaffMember, StaffAdministrationError> {
        let db = self.router.connect(tenant).await?;
        self.access
            .change_by(&db, by, async |transaction, rights| {
                let now = self.clock.now();
                let changed = staff_changes::change(transaction, id, changes, rights, now).await?;
                let (before, after) = changed;
                if before.status != after.status {
                    self.sessions.end_all(transaction, tenant.id, id, None, now).await?;
                }
                let of = |user: &StaffMember| {
                    json!({"role": user.role, "status": user.status, "first_name": user.first_name,
                    "last_name": user.last_name})
                };
                let event = AuditEvent::on("staff.changed", "staff", id);
                let event = event.with(json!({"from": of(&before), "to": of(&after)}));
                let is_changed = before != after;
                Ok((after, is_changed.then_some(event)))
            })
            .await
    }

    /// Removes a lost second factor of a member of staff. The caller must have all rights of that
    /// person.
    pub async fn reset_factor(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        by: &Principal,
    ) -> Result<(), StaffAdministrationError> {
        let db = self.router.connect(tenant).await?;
        self.access
            .change_by(&db, by, async |transaction, rights| {
                // A stolen token must not be able to remove the second factor of its own account.
                if rights.actor.id == Some(id) {
                    return Err(StaffAdministrationError::OwnSecondFactor);
                }
                staff_changes::lock(transaction, id, rights).await?;
                if !rights.has_stepped_up {
                    return Err(AccessError::StepUpRequired.into());
                }
                self.remove_second_factor(transaction, tenant.id, id).await
            })
            .await
    }

    /// As [`Self::reset_factor`], for an operator's command, for example for a sole owner, whose
    /// second factor no other owner can remove. Finds the user by email, and checks no rights.
    pub async fn reset_factor_by_command(
        &self,
        tenant: &Arc<Tenant>,
        email: &EmailAddress,
        origin: &Origin,
    ) -> Result<(), StaffAdministrationError> {
        let db = self.router.connect(tenant).await?;
        let user = staff::find_active_by_email(&db, email).await?.ok_or(StaffError::NotFound)?;
        self.access
            .change(&db, origin, async |transaction| {
                self.remove_second_factor(transaction, tenant.id, user.id).await
            })
            .await
    }

    async fn remove_second_factor(
        &self,
        transaction: &TenantTransaction,
        tenant: TenantId,
        id: Uuid,
    ) -> Result<((), AuditEvent), StaffAdministrationError> {
        let now = self.clock.now();
        if !second_factor::remove(transaction, id, now).await? {
            return Err(StaffAdministrationError::NoSecondFactor);
        }
        self.sessions.end_all(transaction, tenant, id, None, now).await?;
        Ok(((), AuditEvent::on("mfa.reset", "staff", id)))
    }

    /// Removes a member of staff. The address is marked as pending in the email index before the
    /// removal, and finalized afterwards.
    pub async fn remove(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        by: &Principal,
    ) -> Result<(), StaffAdministrationError> {
        let db = self.router.connect(tenant).await?;
        let found = async |transaction: &TenantTransaction, _: &Rights| {
            Ok::<_, StaffAdministrationError>(staff_changes::find(transaction, id).await?)
        };
        let user = self.access.look_by(&db, by, found).await?;
        drop(db);
        let (tenant_id, email) = (tenant.id, user.email.parse().ok());
        let mark = match &email {
            Some(email) => Some(self.index.mark(email, tenant_id).await?),
            None => None,
        };
        let db = self.router.connect(tenant).await?;
        let removed = self.access.change_by(&db, by, async |transaction, rights| {
            let removed = staff_changes::lock_removable(transaction, id, rights).await?;
            self.sessions.end_all(transaction, tenant_id, id, None, self.clock.now()).await?;
            staff_changes::remove(transaction, id).await?;
            let event = AuditEvent::on("staff.removed", "staff", id);
            let event = event.with(json!({"email": removed.email, "role": removed.role}));
            Ok::<_, StaffAdministrationError>((removed, event))
        });
        let removed: StaffMember = removed.await?;
        drop(db);
        if let (Some(email), Some(mark)) = (&email, mark)
            && removed.email == user.email
        {
            self.index.settle(email, tenant_id, mark, AddressStatus::Unknown).await;
        } else if let Ok(other) = removed.email.parse()
            // The address was changed between the look-up and the removal. Both addresses are
            // pending now, and a job finds out which user has each of them.
            && let Err(error) = self.index.mark(&other, tenant_id).await
        {
            tracing::warn!(%error, "an address of somebody who was removed stays in the index");
        }
        Ok(())
    }
}
