//! Settling an organization: tenant, staff and email index become what the facts say. Takes no orders from the event
//! that led here, so that it does not matter which event that was, or how often.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sea_orm::{DbErr, TransactionSession, TransactionTrait};

use super::staffing::{self, Changes};
use super::{ClerkWebhooks, PROVIDER, tenant};
use crate::identifiers::{EmailAddress, TenantId, new_id};
use crate::postgres::failure;
use crate::provisioning::Planned;
use crate::registry::clerk::{self, ClerkStaff, Member, Organization};
use crate::registry::provisioning_runs::{self, RunStatus};
use crate::registry::tenants::{self, Status, Tenant};
use crate::registry::{RegistryError, RegistryTransaction, email_index};
use crate::tenant_data::external_identities::{self as identities, Changed, Known, NO_PASSWORD};
use crate::tenant_data::staff::{self, NewStaffMember};
use crate::tenant_router::{RouterError, TenantTransaction};

/// How settling an organization ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Everything is as the facts say.
    Done,
    /// Its tenant is being made.
    BeingMade,
    /// Its tenant is closed to everybody. What is due will be done when it is opened.
    Closed,
}

/// Why an organization could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled {
    /// Somebody else is at it.
    #[error("another delivery for the organization is being worked on")]
    Busy,
    /// The tenant could not be made.
    #[error("the tenant could not be made: {0}")]
    RunFailed(String),
    /// Somebody who is no user of Clerk has the address of one.
    #[error(
        "{0} member(s) have the email address of an account of the tenant that is not Clerk's, and Clerk has not verified that it is theirs"
    )]
    Unproven(usize),
    /// The tenant's database cannot be reached, or is busy.
    #[error("the tenant's database is not available: {0}")]
    TenantUnavailable(String),
    /// The tenant's database refused what was to be written.
    #[error("the tenant's database refused a statement: {0}")]
    StatementFailed(String),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It took too long.
    #[error("it took too long")]
    TookTooLong,
}

impl From<RouterError> for Unsettled {
    fn from(error: RouterError) -> Self {
        match error {
            RouterError::Registry(error) => Self::Registry(error),
            other => Self::TenantUnavailable(other.to_string()),
        }
    }
}

impl Unsettled {
    fn of_registry(error: DbErr) -> Self {
        Self::Registry(error.into())
    }

    fn of_tenant(error: DbErr) -> Self {
        if failure::is_unavailable(&error) {
            Self::TenantUnavailable(error.to_string())
        } else {
            Self::StatementFailed(error.to_string())
        }
    }
}

impl ClerkWebhooks {
    /// Settles an organization, if there is anything to settle. One at a time does, over all replicas.
    pub(super) async fn settle(&self, id: &str) -> Result<Settled, Unsettled> {
        let db = self.registry.connect().await?;
        let is_settled = |o: &Organization| o.changes <= o.settled || !o.created_seen;
        if clerk::find(&db, id).await?.is_none_or(|organization| is_settled(&organization)) {
            return Ok(Settled::Done);
        }
        let transaction = db.begin().await.map_err(Unsettled::of_registry)?;
        if !clerk::lock(&transaction, id).await? {
            transaction.rollback().await.map_err(Unsettled::of_registry)?;
            return Err(Unsettled::Busy);
        }
        let settled = match clerk::find(&transaction, id).await? {
            // Somebody else has seen to it meanwhile.
            None => Ok((Settled::Done, None)),
            Some(organization) if is_settled(&organization) => Ok((Settled::Done, None)),
            Some(organization) => self.settle_locked(&transaction, &organization).await,
        };
        match settled {
            Ok((settled, planned)) => {
                transaction.commit().await.map_err(Unsettled::of_registry)?;
                if let Some(planned) = planned {
                    tenant::begin(&self.provisioner, planned);
                }
                Ok(settled)
            }
            // What was written of those who are not in question stays.
            Err(unproven @ Unsettled::Unproven(_)) => {
                transaction.commit().await.map_err(Unsettled::of_registry)?;
                Err(unproven)
            }
            Err(error) => {
                // A failure of the connection closes it anyway.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn settle_locked(
        &self,
        transaction: &RegistryTransaction,
        organization: &Organization,
    ) -> Result<(Settled, Option<Planned>), Unsettled> {
        let id = &organization.id;
        let Some(tenant_id) = organization.tenant_id.map(TenantId) else {
            if organization.deleted {
                clerk::settled(transaction, id, organization.changes).await?;
                return Ok((Settled::Done, None));
            }
            let planned = tenant::plan(&self.provisioner, transaction, organization).await?;
            // The lock has seen to that; should it ever not, no second tenant comes of it.
            if !clerk::link_tenant(transaction, id, planned.tenant_id, planned.run_id).await? {
                return Err(Unsettled::Busy);
            }
            return Ok((Settled::BeingMade, Some(planned)));
        };
        let found = tenants::find(transaction, tenant_id).await?;
        match found.as_ref().map(|tenant| tenant.status) {
            Some(Status::Active) => {}
            Some(Status::Suspended | Status::Deleted | Status::Purging) => {
                return Ok((Settled::Closed, None));
            }
            Some(Status::Purged) => {
                clerk::settled(transaction, id, organization.changes).await?;
                return Ok((Settled::Done, None));
            }
            Some(Status::Pending | Status::Provisioning | Status::Failed) | None => {
                return Ok((being_made(transaction, organization).await?, None));
            }
        }
        let Some(tenant) = found.map(Arc::new) else { return Ok((Settled::BeingMade, None)) };
        let members = if organization.deleted {
            tracing::warn!(organization = %id, tenant = %tenant.id, "Clerk has deleted an organization; its staff are disabled, and the tenant is left for a person to decide about");
            Vec::new()
        } else {
            clerk::members_of(transaction, self.registry.sealer(), id).await?
        };
        let created_by = organization.created_by.as_deref();
        let (staff, unproven) = self.write_staff(&tenant, &members, created_by).await?;
        self.write_index(transaction, organization, &tenant, &staff).await?;
        if unproven > 0 {
            return Err(Unsettled::Unproven(unproven));
        }
        clerk::settled(transaction, id, organization.changes).await?;
        Ok((Settled::Done, None))
    }

    /// Makes the tenant's staff what Clerk says. All of it or nothing.
    async fn write_staff(
        &self,
        tenant: &Arc<Tenant>,
        members: &[Member],
        created_by: Option<&str>,
    ) -> Result<(Vec<Known>, usize), Unsettled> {
        let db = self.router.connect_urgently(tenant).await?;
        let transaction = db.begin().await.map_err(Unsettled::of_tenant)?;
        let written = async {
            let before = identities::all_staff(&transaction, PROVIDER).await?;
            let changes = staffing::compare(members, created_by, &before);
            let unproven = changes.unproven.len();
            if changes == (Changes { unproven: changes.unproven.clone(), ..Changes::default() }) {
                return Ok((before, unproven));
            }
            self.apply(&transaction, changes).await?;
            Ok((identities::all_staff(&transaction, PROVIDER).await?, unproven))
        };
        match written.await {
            Ok(written) => {
                transaction.commit().await.map_err(Unsettled::of_tenant)?;
                Ok(written)
            }
            Err(error) => {
                // A failure of the connection closes it anyway.
                let _ = transaction.rollback().await;
                Err(Unsettled::of_tenant(error))
            }
        }
    }

    /// In two phases, so that addresses can be exchanged although each is unique at every moment.
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
        }
        Ok(())
    }

    /// Makes the email index, and what tokens are looked up in, what the tenant's staff is. Which address somebody had
    /// before is remembered here, so that whatever broke off in the middle is put right by doing it again.
    async fn write_index(
        &self,
        transaction: &RegistryTransaction,
        organization: &Organization,
        tenant: &Tenant,
        staff: &[Known],
    ) -> Result<(), RegistryError> {
        let (tenant, now) = (TenantId(tenant.id), self.clock.now());
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
                active: known.staff.status == "active",
            };
            let old = before.remove(&row.user_id);
            if old.as_ref() == Some(&row) {
                continue;
            }
            if let Some(hash) = &row.email_hash {
                email_index::add(transaction, hash.clone(), tenant, now).await?;
            }
            abandoned.extend(old.and_then(|old| old.email_hash));
            // An account that was linked and disabled at once had its address in the index before.
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

    /// Under which hash somebody can be found by their address, if they can.
    fn hash(&self, known: &Known) -> Option<Vec<u8>> {
        let is_active = known.staff.status == "active";
        self.hash_of(&known.staff.email).filter(|_| is_active)
    }

    fn hash_of(&self, address: &str) -> Option<Vec<u8>> {
        let address = Some(address).filter(|address| !identities::is_withdrawn(address))?;
        let address: EmailAddress = address.parse().ok()?;
        Some(self.registry.hasher().email(&address))
    }
}

/// The tenant is not there: is it still being made?
async fn being_made(
    transaction: &RegistryTransaction,
    organization: &Organization,
) -> Result<Settled, Unsettled> {
    let Some(run) = organization.run_id else { return Ok(Settled::Closed) };
    let found = provisioning_runs::find(transaction, run).await?;
    match found {
        Some((run, _)) if run.status == RunStatus::Failed => Err(Unsettled::RunFailed(
            run.error_detail.or(run.error_code).unwrap_or_else(|| "no reason is known".to_owned()),
        )),
        _ => Ok(Settled::BeingMade),
    }
}
