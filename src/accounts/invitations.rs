//! Invitations to the staff of a tenant: sent, sent again, accepted. `email_index_sync.rs`
//! describes how the email index follows.

use std::sync::Arc;

use chrono::TimeDelta;
use sea_orm::TransactionTrait;
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use super::email_index_sync::EmailIndexSync;
use super::email_throttle::EmailThrottle;
use super::error::RedeemError;
use super::one_time_tokens::OneTimeTokens;
use super::sessions::{Sessions, SignedIn};
use super::sign_in::SignIn;
use crate::access::{
    AccessError, Authenticator, Client, OpaqueToken, Principal, from_access_causes,
};
use crate::audit::AuditEvent;
use crate::clock::Clock;
use crate::identifiers::{EmailAddress, TenantId};
use crate::limits::RateLimitState;
use crate::mail::{Email, Mailer};
use crate::passwords::Passwords;
use crate::plain_text::quoted;
use crate::registry::Registry;
use crate::registry::inbox::clerk;
use crate::registry::tenants::Tenant;
use crate::registry::tenants::email_index::AddressStatus;
use crate::tenant_data::one_time_tokens::{self, Purpose};
use crate::tenant_data::staff::{StaffMember, StaffStatus};
use crate::tenant_data::staff_changes::{self, Invitation, StaffError};
use crate::tenant_router::{TenantRouter, TenantTransaction};

/// Long enough for people who read their email only after a weekend.
const INVITATION_LIFE: TimeDelta = TimeDelta::days(7);

/// Reason why an invitation is not sent.
#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    /// `smtp.url` is not set.
    #[error("letters cannot be sent")]
    EmailNotConfigured,
    /// Too many emails to this address were requested.
    #[error("too many letters have been asked for")]
    TooManyEmails(RateLimitState),
    /// The tenant has sent too many invitations.
    #[error("too many were invited")]
    TooManyInvitations(RateLimitState),
    /// The change of the staff is refused.
    #[error(transparent)]
    Staff(#[from] StaffError),
    /// The caller is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(InvitationError);

/// Invites people to the staff of a tenant.
#[derive(Clone)]
pub struct Invitations {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) hasher: Arc<Passwords>,
    pub(super) sessions: Sessions,
    pub(super) sign_in: SignIn,
    pub(super) index: EmailIndexSync,
    pub(super) tokens: OneTimeTokens,
    pub(super) throttle: Arc<EmailThrottle>,
    pub(super) mailer: Mailer,
    pub(super) clock: Clock,
}

impl Invitations {
    /// Creates an invited account and sends the invitation by email.
    pub async fn invite(
        &self,
        tenant: &Arc<Tenant>,
        new: Invitation,
        by: &Principal,
    ) -> Result<StaffMember, InvitationError> {
        self.may_send_invitations(tenant).await?;
        let db = self.router.connect(tenant).await?;
        self.access
            .look_by(&db, by, async |transaction, rights| {
                Ok::<_, InvitationError>(
                    staff_changes::may_invite(transaction, &new, rights).await?,
                )
            })
            .await?;
        drop(db);
        let (id, email) = (tenant.id, new.email.clone());
        self.count(id, &email)?;
        let token = OpaqueToken::generate(id, self.registry.sealer())?;
        let mark = self.index.mark(&email, id).await?;
        let db = self.router.connect(tenant).await?;
        let invited = self.access.change_by(&db, by, async |transaction, rights| {
            let now = self.clock.now();
            let user = staff_changes::invite(transaction, new, rights, now).await?;
            self.keep(transaction, &user, &token).await?;
            let event = AuditEvent::on("staff.invited", "staff", user.id);
            let event = event.with(json!({"email": user.email, "role": user.role}));
            Ok::<_, InvitationError>((user, event))
        });
        // If this fails, it is unknown whether the address is in use; the periodic job finds out
        // later.
        let user: StaffMember = invited.await?;
        drop(db);
        self.index.settle(&email, id, mark, AddressStatus::Invited).await;
        self.send(tenant, email, &token);
        Ok(user)
    }

    /// Sends a new invitation; the earlier token becomes invalid.
    pub async fn invite_again(
        &self,
        tenant: &Arc<Tenant>,
        id: Uuid,
        by: &Principal,
    ) -> Result<(), InvitationError> {
        let db = self.router.connect(tenant).await?;
        let user = self.access.look_by(&db, by, async |transaction, rights| {
            staff_changes::require_verified_owner(transaction).await?;
            let user = staff_changes::find(transaction, id).await?;
            if user.status == StaffStatus::Invited {
                staff_changes::lock_invited_by(transaction, id, rights).await?;
            }
            Ok::<_, InvitationError>(user)
        });
        let user = user.await?;
        drop(db);
        if user.status != StaffStatus::Invited {
            return Err(StaffError::Joined.into());
        }
        let email: EmailAddress = user.email.parse().map_err(|_| StaffError::NotFound)?;
        self.may_send_invitations(tenant).await?;
        self.count(tenant.id, &email)?;
        let token = OpaqueToken::generate(tenant.id, self.registry.sealer())?;
        let db = self.router.connect(tenant).await?;
        let invited = self.access.change_by(&db, by, async |transaction, rights| {
            let user = staff_changes::lock_invited_by(transaction, id, rights).await?;
            self.keep(transaction, &user, &token).await?;
            Ok::<_, InvitationError>(((), AuditEvent::on("staff.invited", "staff", id)))
        });
        invited.await?;
        drop(db);
        self.send(tenant, email, &token);
        Ok(())
    }

    async fn may_send_invitations(&self, tenant: &Tenant) -> Result<(), InvitationError> {
        let registry = self.registry.connect().await?;
        if clerk::keeps(&registry, tenant.id).await? {
            return Err(StaffError::ManagedByIdentityProvider.into());
        }
        match self.mailer.is_configured() {
            true => Ok(()),
            false => Err(InvitationError::EmailNotConfigured),
        }
    }

    fn count(&self, tenant: TenantId, email: &EmailAddress) -> Result<(), InvitationError> {
        let account = self.registry.hasher().email(email);
        let counted = self.throttle.take(account, Purpose::Invitation);
        counted.map_err(InvitationError::TooManyEmails)?;
        self.throttle.take_invitation(tenant).map_err(InvitationError::TooManyInvitations)
    }

    async fn keep(
        &self,
        transaction: &TenantTransaction,
        user: &StaffMember,
        token: &OpaqueToken,
    ) -> Result<(), InvitationError> {
        let (now, whose) = (self.clock.now(), (user.id, &*user.email));
        let purpose = Purpose::Invitation;
        let until = now + INVITATION_LIFE;
        Ok(one_time_tokens::add(transaction, token.hash(), purpose, whose, now, until).await?)
    }

    fn send(&self, tenant: &Tenant, to: EmailAddress, token: &OpaqueToken) {
        let link = self.mailer.link("join", &token.to_text());
        // Only an owner with a verified address can invite, so the organization's name is safe to
        // send.
        let organization = quoted(&tenant.organization_name);
        self.mailer.send(Email {
            to,
            subject: format!("Join the staff of {organization}"),
            text: format!(
                "You are invited to the staff of {organization}. To set a password and join, within a week:\n\n{link}\n\n\
                 If you know nothing of it, you need do nothing.\n"
            ),
        });
    }

    /// Accepts an invitation: sets the password and signs the user in.
    pub async fn join(
        &self,
        token: &str,
        password: SecretString,
        client: &Client,
    ) -> Result<SignedIn, RedeemError> {
        let refused = || RedeemError::InvalidToken;
        let (token, tenant, db) = self.tokens.locate(token).await?;
        // Checked before the costly password hash.
        let found = one_time_tokens::find(&db, token.hash(), Purpose::Invitation).await?;
        let email: EmailAddress =
            found.ok_or_else(refused)?.email.parse().map_err(|_| refused())?;
        drop(db);
        let hash = self.hasher.hash_new(password, Vec::new()).await?;
        // Marked before and finalized after: the address changes from invited to staff.
        let mark = self.index.mark(&email, tenant.id).await?;
        let (db, now) = (self.router.connect(&tenant).await?, self.clock.now());
        let joined = async |transaction: &TenantTransaction| {
            let purpose = Purpose::Invitation;
            let taken = one_time_tokens::take(transaction, token.hash(), purpose, now).await?;
            let joined = match &taken {
                Some(token) => staff_changes::join(transaction, token.staff_id, hash, now).await?,
                None => None,
            };
            // The token is deleted also if it has expired, so this outcome is committed.
            let Some(user) = joined else { return Ok(None) };
            let event = AuditEvent::on("staff.joined", "staff", user.id);
            self.access.record(transaction, &user, client, event).await?;
            let tokens = self.sessions.open_in(transaction, &user, client, now).await?;
            Ok::<_, RedeemError>(Some((user, tokens)))
        };
        let (user, tokens) = db.begin().await?.run(joined).await?.ok_or_else(refused)?;
        self.index.settle(&email, tenant.id, mark, AddressStatus::Staff).await;
        Ok(self.sign_in.signed_in(db, (tenant, user), tokens, now).await)
    }
}
