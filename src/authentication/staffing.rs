//! The staff of a tenant: inviting, joining, changing, removing. For the address of whoever comes or goes see `addresses.rs`.

use std::sync::Arc;

use chrono::TimeDelta;
use sea_orm::{TransactionSession, TransactionTrait};
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use super::opaque_token::OpaqueToken;
use super::{Authentication, AuthenticationError, Client, Principal, SignedIn};
use crate::audit::{Act, Origin};
use crate::identifiers::{EmailAddress, TenantId};
use crate::mail::Letter;
use crate::plain_text::quoted;
use crate::registry::inbox::clerk;
use crate::registry::tenants::Tenant;
use crate::registry::tenants::email_index::Standing;
use crate::tenant_data::one_time_tokens::{self, Purpose};
use crate::tenant_data::staff::StaffMember;
use crate::tenant_data::staffing::{self, INVITED, Invitation, StaffChanges, StaffError};
use crate::tenant_data::{second_factor, staff};
use crate::tenant_router::TenantTransaction;

/// People look into their mail after a weekend.
const INVITATION_LIFE: TimeDelta = TimeDelta::days(7);

impl Authentication {
    /// Asks somebody by letter to join the staff.
    pub async fn invite(
        &self,
        tenant: &Arc<Tenant>,
        new: Invitation,
        by: &Principal,
    ) -> Result<StaffMember, AuthenticationError> {
        self.may_send_invitations(tenant).await?;
        let db = self.router.connect(tenant).await?;
        self.look_by(&db, by, async |transaction, rights| {
            Ok(staffing::may_invite(transaction, &new, rights).await?)
        })
        .await?;
        drop(db);
        let (id, email) = (TenantId(tenant.id), new.email.clone());
        self.count_invitation(id, &email)?;
        let token = self.new_token(id)?;
        let mark = self.mark_address(&email, id).await?;
        let db = self.router.connect(tenant).await?;
        let invited = self.change_by(&db, by, async |transaction, rights| {
            let now = self.clock.now();
            let user = staffing::invite(transaction, new, rights, now).await?;
            self.keep_invitation(transaction, &user, &token).await?;
            let act = Act::on("staff.invited", "staff", user.id);
            let act = act.with(json!({"email": user.email, "role": user.role}));
            Ok::<_, AuthenticationError>((user, act))
        });
        // Where it fails nobody knows whose the address is: the mark goes by itself.
        let user: StaffMember = invited.await?;
        drop(db);
        self.settle_address(&email, id, mark, Standing::Invited).await;
        self.send_invitation(tenant, email, &token);
        Ok(user)
    }

    /// Sends the letter once more; the one before is good no more.
    pub async fn invite_again(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        by: &Principal,
    ) -> Result<(), AuthenticationError> {
        let db = self.router.connect(tenant).await?;
        let user = self.look_by(&db, by, async |transaction, rights| {
            staffing::require_verified_owner(transaction).await?;
            let user = staffing::find(transaction, id).await?;
            if user.status == INVITED {
                staffing::hold_invited_by(transaction, id, rights).await?;
            }
            Ok(user)
        });
        let user: StaffMember = user.await?;
        drop(db);
        if user.status != INVITED {
            return Err(StaffError::Joined.into());
        }
        let email: EmailAddress = user.email.parse().map_err(|_| StaffError::NotFound)?;
        self.may_send_invitations(tenant).await?;
        self.count_invitation(TenantId(tenant.id), &email)?;
        let token = self.new_token(TenantId(tenant.id))?;
        let db = self.router.connect(tenant).await?;
        let invited = self.change_by(&db, by, async |transaction, rights| {
            let user = staffing::hold_invited_by(transaction, id, rights).await?;
            self.keep_invitation(transaction, &user, &token).await?;
            Ok::<_, AuthenticationError>(((), Act::on("staff.invited", "staff", id)))
        });
        invited.await?;
        drop(db);
        self.send_invitation(tenant, email, &token);
        Ok(())
    }

    async fn may_send_invitations(&self, tenant: &Tenant) -> Result<(), AuthenticationError> {
        let registry = self.registry.connect().await?;
        if clerk::keeps(&registry, TenantId(tenant.id)).await? {
            return Err(StaffError::KeptElsewhere.into());
        }
        match self.mailer.is_set_up() {
            true => Ok(()),
            false => Err(AuthenticationError::NoMail),
        }
    }

    fn count_invitation(
        &self,
        tenant: TenantId,
        email: &EmailAddress,
    ) -> Result<(), AuthenticationError> {
        let account = self.registry.hasher().email(email);
        let counted = self.attempts.ask_for_letter(account, Purpose::Invitation);
        counted.map_err(AuthenticationError::TooManyLetters)?;
        self.attempts.invite(tenant).map_err(AuthenticationError::TooManyInvitations)
    }

    async fn keep_invitation(
        &self,
        transaction: &TenantTransaction,
        user: &StaffMember,
        token: &OpaqueToken,
    ) -> Result<(), AuthenticationError> {
        let (now, whose) = (self.clock.now(), (user.id, &*user.email));
        let purpose = Purpose::Invitation;
        let until = now + INVITATION_LIFE;
        Ok(one_time_tokens::add(transaction, token.hash(), purpose, whose, now, until).await?)
    }

    fn send_invitation(&self, tenant: &Tenant, to: EmailAddress, token: &OpaqueToken) {
        let link = self.mailer.link("join", &token.to_text());
        // Only an owner whose address is proven invites anybody.
        let organization = quoted(&tenant.organization_name);
        self.mailer.send(Letter {
            to,
            subject: format!("Join the staff of {organization}"),
            text: format!(
                "You are invited to the staff of {organization}. To set a password and join, within a week:\n\n{link}\n\n\
                 If you know nothing of it, you need do nothing.\n"
            ),
        });
    }

    /// Somebody has got the letter, and joins with a password of theirs. They are signed in.
    pub async fn join(
        &self,
        token: &str,
        password: SecretString,
        client: &Client,
    ) -> Result<SignedIn, AuthenticationError> {
        let refused = || AuthenticationError::InvalidOneTimeToken;
        let (token, tenant, db) = self.bring(token).await?;
        // Before a hash is paid for.
        let found = one_time_tokens::find(&db, token.hash(), Purpose::Invitation).await?;
        let email: EmailAddress =
            found.ok_or_else(refused)?.email.parse().map_err(|_| refused())?;
        drop(db);
        let hash = self.passwords.hash_new(password, Vec::new()).await?;
        // Marked before and settled after: from now on they are no longer somebody who was only invited.
        let mark = self.mark_address(&email, TenantId(tenant.id)).await?;
        let (db, now) = (self.router.connect(&tenant).await?, self.clock.now());
        let transaction = db.begin().await?;
        let purpose = Purpose::Invitation;
        let taken = one_time_tokens::take(&transaction, token.hash(), purpose, now).await?;
        let joined = match &taken {
            Some(token) => staffing::join(&transaction, token.staff_id, hash, now).await?,
            None => None,
        };
        let Some(user) = joined else {
            // Taken or too old, it is good no more.
            transaction.commit().await?;
            return Err(refused());
        };
        let act = Act::on("staff.joined", "staff", user.id);
        self.note(&transaction, &user, client, act).await?;
        let tokens = self.open_session_in(&transaction, &user, client, now).await?;
        transaction.commit().await?;
        self.settle_address(&email, TenantId(tenant.id), mark, Standing::Staff).await;
        Ok(self.signed_in(db, (tenant, user), tokens, now).await)
    }

    /// Changes somebody. Whoever is shut out loses all sessions.
    pub async fn change_staff(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        changes: StaffChanges,
        by: &Principal,
    ) -> Result<StaffMember, AuthenticationError> {
        let db = self.router.connect(tenant).await?;
        self.change_by(&db, by, async |transaction, rights| {
            let now = self.clock.now();
            let changed = staffing::change(transaction, id, changes, rights, now).await?;
            let (before, after) = changed;
            if before.status != after.status {
                self.end_sessions(transaction, TenantId(tenant.id), id, None, now).await?;
            }
            let of = |user: &StaffMember| {
                json!({"role": user.role, "status": user.status, "first_name": user.first_name,
                    "last_name": user.last_name})
            };
            let act = Act::on("staff.changed", "staff", id);
            let act = act.with(json!({"from": of(&before), "to": of(&after)}));
            let is_changed = before != after;
            Ok((after, is_changed.then_some(act)))
        })
        .await
    }

    /// Takes somebody's second factor off who has lost it, for a manager who may do all that they may.
    pub async fn reset_factor(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        by: &Principal,
    ) -> Result<(), AuthenticationError> {
        let db = self.router.connect(tenant).await?;
        self.change_by(&db, by, async |transaction, rights| {
            // A token that was stolen must not take off what it was stolen in spite of.
            if rights.actor.id == Some(id) {
                return Err(AuthenticationError::Conflict(
                    "Your own second factor you take off yourself, with password and code.",
                ));
            }
            staffing::hold(transaction, id, rights).await?;
            if !rights.has_stepped_up {
                return Err(AuthenticationError::StepUpRequired);
            }
            self.take_factor_off(transaction, TenantId(tenant.id), id).await
        })
        .await
    }

    /// As [`Self::reset_factor`], by an operator's command: for an owner whom no other owner can help.
    pub async fn reset_factor_by_command(
        &self,
        tenant: &Arc<Tenant>,
        email: &EmailAddress,
        origin: &Origin,
    ) -> Result<(), AuthenticationError> {
        let db = self.router.connect(tenant).await?;
        let user = staff::find_active_by_email(&db, email).await?.ok_or(StaffError::NotFound)?;
        self.change(&db, origin, async |transaction| {
            self.take_factor_off(transaction, TenantId(tenant.id), user.id).await
        })
        .await
    }

    async fn take_factor_off(
        &self,
        transaction: &TenantTransaction,
        tenant: TenantId,
        id: Uuid,
    ) -> Result<((), Act), AuthenticationError> {
        let now = self.clock.now();
        if !second_factor::remove(transaction, id, now).await? {
            return Err(AuthenticationError::NoSecondFactor);
        }
        self.end_sessions(transaction, tenant, id, None, now).await?;
        Ok(((), Act::on("mfa.reset", "staff", id)))
    }

    /// Removes somebody from the staff.
    pub async fn remove_staff(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        by: &Principal,
    ) -> Result<(), AuthenticationError> {
        let db = self.router.connect(tenant).await?;
        let user = self
            .look_by(&db, by, async |transaction, _| Ok(staffing::find(transaction, id).await?));
        let user: StaffMember = user.await?;
        drop(db);
        let (tenant_id, email) = (TenantId(tenant.id), user.email.parse().ok());
        let mark = match &email {
            Some(email) => Some(self.mark_address(email, tenant_id).await?),
            None => None,
        };
        let db = self.router.connect(tenant).await?;
        let removed = self.change_by(&db, by, async |transaction, rights| {
            let removed = staffing::hold_removable(transaction, id, rights).await?;
            self.end_sessions(transaction, tenant_id, id, None, self.clock.now()).await?;
            staffing::remove(transaction, id).await?;
            let act = Act::on("staff.removed", "staff", id);
            let act = act.with(json!({"email": removed.email, "role": removed.role}));
            Ok::<_, AuthenticationError>((removed, act))
        });
        let removed: StaffMember = removed.await?;
        drop(db);
        if let (Some(email), Some(mark)) = (&email, mark)
            && removed.email == user.email
        {
            self.settle_address(email, tenant_id, mark, Standing::Unknown).await;
        } else if let Ok(other) = removed.email.parse()
            // They had another address by then: the job asks whose both are now.
            && let Err(error) = self.mark_address(&other, tenant_id).await
        {
            tracing::warn!(%error, "an address of somebody who was removed stays in the index");
        }
        Ok(())
    }
}
