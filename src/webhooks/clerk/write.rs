//! Writes the result of reconciling: staff to the tenant's database, and the indexes that find them
//! to the registry.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::TimeDelta;
use sea_orm::{DbErr, TransactionTrait};
use uuid::Uuid;

use super::reconcile::ReconcileError;
use super::staff_sync::{self, Changes, PassedOver};
use super::{ClerkWebhooks, PROVIDER};
use crate::identifiers::{EmailAddress, new_id};
use crate::registry::inbox::clerk::{self, ClerkStaff, Member, Organization};
use crate::registry::people::revoked_tokens;
use crate::registry::tenants::Tenant;
use crate::registry::tenants::email_index;
use crate::registry::{RegistryError, RegistryTransaction};
use crate::tenant_data::external_identities::{self as identities, Changed, Known, NO_PASSWORD};
use crate::tenant_data::staff::{self, NewStaffMember, StaffStatus};
use crate::tenant_data::{rights, sessions};
use crate::tenant_router::TenantTransaction;

/// The state of a tenant's database after the write.
pub(super) struct Written {
    /// All staff of the tenant.
    pub staff: Vec<Known>,
    /// Users who are not staff, because Clerk has not verified an address that another account has.
    pub unproven: Vec<String>,
    /// Members who are not staff for other reasons.
    pub passed_over: PassedOver,
    /// Sessions whose access tokens must be refused.
    ended_sessions: Vec<Uuid>,
}

impl ClerkWebhooks {
    /// Makes the tenant's staff agree with Clerk, in one transaction.
    pub(super) async fn write_staff(
        &self,
        tenant: &Arc<Tenant>,
        members: &[Member],
        created_by: Option<&str>,
    ) -> Result<Written, ReconcileError> {
        let db = self.router.connect_urgently(tenant).await?;
        let transaction = db.begin().await.map_err(ReconcileError::of_tenant)?;
        let written = async |transaction: &TenantTransaction| {
            // A change by rights that are lost here is finished before, or refused.
            rights::lock(transaction, true).await?;
            let before = identities::all_staff(transaction, PROVIDER).await?;
            let changes = staff_sync::compare(members, created_by, &before);
            let (unproven, passed_over) = (changes.unproven.clone(), changes.passed_over.clone());
            let staff = if changes.is_empty() {
                before
            } else {
                self.apply(transaction, changes).await?;
                identities::all_staff(transaction, PROVIDER).await?
            };
            let ended_sessions = self.end_sessions(transaction, &staff).await?;
            Ok(Written { staff, unproven, passed_over, ended_sessions })
        };
        transaction.run(written).await.map_err(ReconcileError::of_tenant)
    }

    /// Writes the changes in two phases, so that addresses can be exchanged although each is unique
    /// at every moment.
    async fn apply(&self, transaction: &TenantTransaction, changes: Changes) -> Result<(), DbErr> {
        let now = self.clock.now();
        for (id, _) in changes.updates.iter().filter(|(_, changed)| changed.email.is_some()) {
            let withdrawn = Some(identities::withdrawn_address(*id));
            let changed = Changed { email: withdrawn, ..Changed::default() };
            identities::change(transaction, *id, changed, now).await?;
        }
        for (id, changed) in changes.updates {
            identities::change(transaction, id, changed, now).await?;
        }
        for (id, user) in changes.links {
            identities::link(transaction, id, PROVIDER, &user, now).await?;
            // The verification of the address is Clerk's task.
            staff::record_verified(transaction, id, now).await?;
        }
        for new in changes.additions {
            let member = NewStaffMember {
                id: new_id(),
                email: new.email,
                password_hash: NO_PASSWORD.to_owned(),
                first_name: new.first_name,
                last_name: new.last_name,
                role: new.role,
            };
            staff::add(transaction, &member, now).await?;
            identities::link(transaction, member.id, PROVIDER, &new.user_id, now).await?;
            staff::record_verified(transaction, member.id, now).await?;
        }
        Ok(())
    }

    /// Ends the sessions that disabled accounts have here, apart from those at Clerk: an account
    /// with an own password may be signed in with it. Returns their ids also after an attempt that
    /// stopped before the registry had them.
    async fn end_sessions(
        &self,
        transaction: &TenantTransaction,
        staff: &[Known],
    ) -> Result<Vec<Uuid>, DbErr> {
        let now = self.clock.now();
        let mut ended = Vec::new();
        for known in staff.iter().filter(|known| known.external_id.is_some()) {
            let row = &known.staff;
            if row.status != StaffStatus::Active && row.password_hash != NO_PASSWORD {
                let oldest_token = now - self.token_life;
                ended.extend(
                    sessions::revoke_all(transaction, row.id, None, now, oldest_token).await?,
                );
            }
        }
        Ok(ended)
    }

    /// Makes the email index, and the table in which tokens are looked up, agree with the tenant's
    /// staff. The table also has the earlier address of each user, so that a repetition corrects an
    /// interrupted attempt.
    pub(super) async fn write_registry(
        &self,
        transaction: &RegistryTransaction,
        organization: &Organization,
        tenant: &Tenant,
        Written { staff, ended_sessions, .. }: &Written,
    ) -> Result<(), RegistryError> {
        let (tenant, now) = (tenant.id, self.clock.now());
        if !ended_sessions.is_empty() {
            let expires_at = now + self.token_life + TimeDelta::minutes(1);
            revoked_tokens::record(transaction, tenant, ended_sessions, expires_at).await?;
        }
        let before = clerk::staff_of(transaction, &organization.id).await?;
        let mut before: HashMap<String, ClerkStaff> =
            before.into_iter().map(|row| (row.user_id.clone(), row)).collect();
        let in_use: HashSet<Vec<u8>> = staff.iter().filter_map(|known| self.hash(known)).collect();
        let mut abandoned = Vec::new();
        for known in staff {
            let Some(user_id) = known.external_id.clone() else { continue };
            let row = ClerkStaff {
                organization_id: organization.id.clone(),
                user_id,
                staff_id: known.staff.id,
                role: known.staff.role.clone(),
                email_hash: self.hash(known),
                active: known.staff.status == StaffStatus::Active,
            };
            let old = before.remove(&row.user_id);
            if old.as_ref() == Some(&row) {
                continue;
            }
            if let Some(hash) = &row.email_hash {
                email_index::add(transaction, hash.clone(), tenant, now).await?;
            }
            abandoned.extend(old.and_then(|old| old.email_hash));
            // An account that was linked and disabled at the same time had its address in the index
            // before.
            if !row.active {
                abandoned.extend(self.hash_of(&known.staff.email));
            }
            clerk::save_staff(transaction, row).await?;
        }
        for hash in abandoned.into_iter().filter(|hash| !in_use.contains(hash)) {
            email_index::remove(transaction, hash, tenant).await?;
        }
        Ok(())
    }

    /// The hash by which the account can be found in the email index. `None` if it is disabled or
    /// has no real address.
    fn hash(&self, known: &Known) -> Option<Vec<u8>> {
        let is_active = known.staff.status == StaffStatus::Active;
        self.hash_of(&known.staff.email).filter(|_| is_active)
    }

    fn hash_of(&self, address: &str) -> Option<Vec<u8>> {
        let address = Some(address).filter(|address| !identities::is_withdrawn(address))?;
        let address: EmailAddress = address.parse().ok()?;
        Some(self.registry.hasher().email(&address))
    }
}
