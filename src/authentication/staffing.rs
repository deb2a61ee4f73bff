//! The staff of a tenant: inviting, joining, changing, removing. For the address of whoever comes or goes see `addresses.rs`.

use std::sync::Arc;

use chrono::TimeDelta;
use sea_orm::{TransactionSession, TransactionTrait};
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use super::opaque_token::OpaqueToken;
use super::{Authentication, AuthenticationError, Client, SignedIn};
use crate::audit::{Act, Origin};
use crate::identifiers::{EmailAddress, TenantId};
use crate::mail::Letter;
use crate::registry::clerk;
use crate::registry::tenants::Tenant;
use crate::tenant_data::one_time_tokens::{self, Purpose};
use crate::tenant_data::rights::Rights;
use crate::tenant_data::staff::StaffMember;
use crate::tenant_data::staffing::{self, INVITED, Invitation, StaffChanges, StaffError};
use crate::tenant_data::{audit_log, second_factor, staff};
use crate::tenant_router::TenantTransaction;

/// People look into their mail after a weekend.
const INVITATION_LIFE: TimeDelta = TimeDelta::days(7);

/// Whoever changes the staff: what they may do themselves, and for the audit log, who they are.
pub struct Manager<'a> {
    /// Theirs.
    pub rights: &'a Rights,
    /// Theirs.
    pub origin: &'a Origin,
}

impl Authentication {
    /// Asks somebody by letter to join the staff.
    pub async fn invite(
        &self,
        tenant: &Arc<Tenant>,
        new: Invitation,
        by: Manager<'_>,
    ) -> Result<StaffMember, AuthenticationError> {
        self.may_send_invitations(tenant).await?;
        let db = self.router.connect(tenant).await?;
        staffing::may_invite(&db, &new, by.rights).await?;
        drop(db);
        let (id, email) = (TenantId(tenant.id), new.email.clone());
        self.count_invitation(id, &email)?;
        let mark = self.mark_address(&email, id).await?;
        let invited = async {
            let (token, now) = (self.new_token(id)?, self.clock.now());
            let db = self.router.connect(tenant).await?;
            let transaction = db.begin().await?;
            let written = async {
                let user = staffing::invite(&transaction, new, by.rights, now).await?;
                self.keep_invitation(&transaction, &user, &token).await?;
                let act = Act::on("staff.invited", "staff", user.id);
                let act = act.with(json!({"email": user.email, "role": user.role}));
                let hasher = self.registry.hasher();
                audit_log::note(&transaction, hasher, by.origin, act, now).await?;
                Ok::<_, AuthenticationError>(user)
            };
            match written.await {
                Ok(user) => {
                    transaction.commit().await?;
                    Ok((user, token))
                }
                Err(error) => {
                    transaction.rollback().await?;
                    Err(error)
                }
            }
        };
        // Where it fails nobody knows whose the address is: the mark goes by itself.
        let (user, token) = invited.await?;
        self.settle_address(&email, id, mark, true).await;
        self.send_invitation(tenant, email, &token);
        Ok(user)
    }

    /// Sends the letter once more; the one before is good no more.
    pub async fn invite_again(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        by: Manager<'_>,
    ) -> Result<(), AuthenticationError> {
        let db = self.router.connect(tenant).await?;
        let user = staffing::find(&db, id).await?;
        staffing::require_verified_owner(&db).await?;
        drop(db);
        if user.status != INVITED {
            return Err(StaffError::Joined.into());
        }
        let email: EmailAddress = user.email.parse().map_err(|_| StaffError::NotFound)?;
        self.may_send_invitations(tenant).await?;
        self.count_invitation(TenantId(tenant.id), &email)?;
        let (token, now) = (self.new_token(TenantId(tenant.id))?, self.clock.now());
        let db = self.router.connect(tenant).await?;
        let transaction = db.begin().await?;
        if staffing::hold_invited(&transaction, id).await?.is_none() {
            transaction.rollback().await?;
            return Err(StaffError::NotFound.into());
        }
        self.keep_invitation(&transaction, &user, &token).await?;
        let act = Act::on("staff.invited", "staff", user.id);
        audit_log::note(&transaction, self.registry.hasher(), by.origin, act, now).await?;
        transaction.commit().await?;
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
        self.mailer.send(Letter {
            to,
            subject: format!("Join the staff of {}", tenant.organization_name),
            text: format!(
                "You are invited to the staff of {}. To set a password and join, within a week:\n\n{link}\n\n\
                 If you know nothing of it, you need do nothing.\n",
                tenant.organization_name
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
        found.ok_or_else(refused)?;
        drop(db);
        let hash = self.passwords.hash(password).await?;
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
        transaction.commit().await?;
        self.sign_in(db, tenant, user, client).await
    }

    /// Changes somebody. Whoever is shut out loses all sessions.
    pub async fn change_staff(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        changes: StaffChanges,
        by: Manager<'_>,
    ) -> Result<StaffMember, AuthenticationError> {
        let (db, now) = (self.router.connect(tenant).await?, self.clock.now());
        let transaction = db.begin().await?;
        let changed = async {
            let changed = staffing::change(&transaction, id, changes, by.rights, now).await?;
            let (before, after) = changed;
            if before.status != after.status {
                self.end_sessions(&transaction, TenantId(tenant.id), id, None, now).await?;
            }
            let of = |user: &StaffMember| {
                json!({"role": user.role, "status": user.status, "first_name": user.first_name,
                    "last_name": user.last_name})
            };
            let act = Act::on("staff.changed", "staff", id);
            let act = act.with(json!({"from": of(&before), "to": of(&after)}));
            audit_log::note(&transaction, self.registry.hasher(), by.origin, act, now).await?;
            Ok::<_, AuthenticationError>(after)
        };
        match changed.await {
            Ok(user) => {
                transaction.commit().await?;
                Ok(user)
            }
            Err(error) => {
                transaction.rollback().await?;
                Err(error)
            }
        }
    }

    /// Takes somebody's second factor off who has lost it, for a manager who may do all that they may.
    pub async fn reset_factor(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        by: Manager<'_>,
    ) -> Result<(), AuthenticationError> {
        // A token that was stolen must not take off what it was stolen in spite of.
        if by.rights.actor.id == Some(id) {
            return Err(AuthenticationError::Conflict(
                "Your own second factor you take off yourself, with password and code.",
            ));
        }
        let (db, now) = (self.router.connect(tenant).await?, self.clock.now());
        let transaction = db.begin().await?;
        let reset = async {
            staffing::change(&transaction, id, StaffChanges::default(), by.rights, now).await?;
            if !second_factor::remove(&transaction, id, now).await? {
                return Err(AuthenticationError::NoSecondFactor);
            }
            one_time_tokens::remove(&transaction, id, Purpose::EmailChange).await?;
            self.end_sessions(&transaction, TenantId(tenant.id), id, None, now).await?;
            let act = Act::on("mfa.reset", "staff", id);
            audit_log::note(&transaction, self.registry.hasher(), by.origin, act, now).await?;
            Ok(())
        };
        match reset.await {
            Ok(()) => Ok(transaction.commit().await?),
            Err(error) => {
                transaction.rollback().await?;
                Err(error)
            }
        }
    }

    /// As [`Self::reset_factor`], by an operator's command: for an owner whom no other owner can help.
    pub async fn reset_factor_by_command(
        &self,
        tenant: &Arc<Tenant>,
        email: &EmailAddress,
        origin: &Origin,
    ) -> Result<(), AuthenticationError> {
        let (db, now) = (self.router.connect(tenant).await?, self.clock.now());
        let user = staff::find_active_by_email(&db, email).await?.ok_or(StaffError::NotFound)?;
        let transaction = db.begin().await?;
        if !second_factor::remove(&transaction, user.id, now).await? {
            transaction.rollback().await?;
            return Err(AuthenticationError::NoSecondFactor);
        }
        self.end_sessions(&transaction, TenantId(tenant.id), user.id, None, now).await?;
        let act = Act::on("mfa.reset", "staff", user.id);
        audit_log::note(&transaction, self.registry.hasher(), origin, act, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Removes somebody from the staff.
    pub async fn remove_staff(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        by: Manager<'_>,
    ) -> Result<(), AuthenticationError> {
        let db = self.router.connect(tenant).await?;
        let user = staffing::find(&db, id).await?;
        drop(db);
        let (tenant_id, email) = (TenantId(tenant.id), user.email.parse().ok());
        let mark = match &email {
            Some(email) => Some(self.mark_address(email, tenant_id).await?),
            None => None,
        };
        let (db, now) = (self.router.connect(tenant).await?, self.clock.now());
        let transaction = db.begin().await?;
        let removed = async {
            let removed = staffing::hold_removable(&transaction, id, by.rights).await?;
            self.end_sessions(&transaction, tenant_id, id, None, now).await?;
            staffing::remove(&transaction, id).await?;
            let act = Act::on("staff.removed", "staff", id);
            let act = act.with(json!({"email": removed.email, "role": removed.role}));
            audit_log::note(&transaction, self.registry.hasher(), by.origin, act, now).await?;
            Ok::<_, AuthenticationError>(removed)
        };
        match removed.await {
            Ok(removed) => {
                transaction.commit().await?;
                // With another address by now, the mark is not on theirs: it goes by itself.
                if let (Some(email), Some(mark)) = (&email, mark)
                    && removed.email == user.email
                {
                    self.settle_address(email, tenant_id, mark, false).await;
                } else if let Ok(other) = removed.email.parse() {
                    // The job asks whose it is now.
                    self.mark_address(&other, tenant_id).await?;
                }
                Ok(())
            }
            Err(error) => {
                transaction.rollback().await?;
                Err(error)
            }
        }
    }
}
