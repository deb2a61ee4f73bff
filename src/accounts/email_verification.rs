//! Verification of email addresses: an email with a token that can be used once.

use std::sync::Arc;

use chrono::TimeDelta;
use sea_orm::TransactionTrait;

use super::email_throttle::EmailThrottle;
use super::error::{CredentialError, EmailError, RedeemError};
use super::one_time_tokens::{OneTimeTokens, take};
use crate::access::{Authenticator, Client, Principal};
use crate::audit::AuditEvent;
use crate::clock::Clock;
use crate::limits::RateLimitState;
use crate::mail::{Email, Mailer};
use crate::plain_text::quoted;
use crate::registry::Registry;
use crate::registry::tenants::Tenant;
use crate::tenant_data::one_time_tokens::{self, Purpose};
use crate::tenant_data::rights::Rights;
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::{TenantDb, TenantTransaction};

const VERIFICATION_LIFE: TimeDelta = TimeDelta::hours(24);

/// Sends verification emails and redeems their tokens.
#[derive(Clone)]
pub struct EmailVerification {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) tokens: OneTimeTokens,
    pub(super) throttle: Arc<EmailThrottle>,
    pub(super) mailer: Mailer,
    pub(super) clock: Clock,
}

impl EmailVerification {
    /// Sends a verification email, unless the address is verified or an earlier token is still
    /// valid.
    pub(super) async fn ask(
        &self,
        db: &TenantDb,
        user: &StaffMember,
    ) -> Result<(), CredentialError> {
        if user.email_verified_at.is_some() || !self.mailer.is_configured() {
            return Ok(());
        }
        let purpose = Purpose::EmailVerification;
        if one_time_tokens::is_any_there(db, user.id, purpose, self.clock.now()).await? {
            return Ok(());
        }
        // Anyone can register with a foreign address again and again, so these emails are
        // throttled.
        match self.count(user) {
            Ok(()) => self.send(db, user).await,
            Err(_) => Ok(()),
        }
    }

    fn count(&self, user: &StaffMember) -> Result<(), RateLimitState> {
        let Ok(email) = user.email.parse() else { return Ok(()) };
        let account = self.registry.hasher().email(&email);
        self.throttle.take(account, Purpose::EmailVerification)
    }

    /// Sends the verification email again.
    pub async fn resend(&self, by: &Principal, db: &TenantDb) -> Result<(), EmailError> {
        let id = by.claims()?.sub;
        let found = async |transaction: &TenantTransaction, _: &Rights| {
            Ok::<_, EmailError>(staff::find_active(transaction, id).await?)
        };
        let user = self.access.look_by(db, by, found).await?;
        let user = user.ok_or(CredentialError::InvalidCredentials)?;
        if user.email_verified_at.is_some() || !self.mailer.is_configured() {
            return Ok(());
        }
        self.count(&user).map_err(EmailError::TooMany)?;
        Ok(self.send(db, &user).await?)
    }

    /// Anyone can register any address, so this first email contains no text from the registration.
    async fn send(&self, db: &TenantDb, user: &StaffMember) -> Result<(), CredentialError> {
        let Ok(to) = user.email.parse() else { return Ok(()) };
        let purpose = Purpose::EmailVerification;
        let token = self.tokens.issue(db, user, purpose, VERIFICATION_LIFE).await?;
        let link = self.mailer.link("verify-email", &token);
        self.mailer.send(Email {
            to,
            subject: "Is this your address?".to_owned(),
            text: format!(
                "An organization was registered with this address. If you have registered it, say so within a day:\n\n{link}\n\n\
                 If you have not, do not follow the link: whoever has registered it would be taken for you. You need do nothing.\n"
            ),
        });
        Ok(())
    }

    /// Redeems a token: the address is verified from now on.
    pub async fn verify(&self, token: &str, client: &Client) -> Result<(), RedeemError> {
        let (token, _, db) = self.tokens.locate(token).await?;
        let now = self.clock.now();
        let verified = async |transaction: &TenantTransaction| {
            let user = take(transaction, &token, Purpose::EmailVerification, now).await?;
            let user = user.ok_or(RedeemError::InvalidToken)?;
            staff::record_verified(transaction, user.id, now).await?;
            // An address change that was requested before the verification may come from another
            // person.
            one_time_tokens::remove(transaction, user.id, Purpose::EmailChange).await?;
            let event = AuditEvent::on("email.verified", "staff", user.id);
            self.access.record(transaction, &user, client, event).await?;
            Ok(())
        };
        db.begin().await?.run(verified).await
    }
}

/// The organization's name in an email to a member of its staff. Anyone can register an
/// organization with a foreign address and any name, so a user with an unverified address gets a
/// neutral text instead of the name.
pub fn name_for(tenant: &Tenant, user: &StaffMember) -> String {
    match user.email_verified_at {
        Some(_) => quoted(&tenant.organization_name),
        None => "an organization".to_owned(),
    }
}
