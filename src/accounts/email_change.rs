//! Change of a staff member's email address. The user proves the new address with a token from an
//! email.

use std::sync::Arc;

use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::json;

use super::credentials::CredentialChecker;
use super::email_index_sync::EmailIndexSync;
use super::email_throttle::EmailThrottle;
use super::email_verification::name_for;
use super::error::{CredentialError, EmailError, RedeemError};
use super::one_time_tokens::OneTimeTokens;
use crate::access::{AccessError, Authenticator, Client, OpaqueToken, Principal};
use crate::audit::{AuditEvent, Origin};
use crate::clock::Clock;
use crate::identifiers::EmailAddress;
use crate::mail::{Email, Mailer};
use crate::registry::Registry;
use crate::registry::tenants::Tenant;
use crate::registry::tenants::email_index::AddressStatus;
use crate::tenant_data::one_time_tokens::{self, OneTimeToken, Purpose};
use crate::tenant_data::staff;
use crate::tenant_data::staff_changes;
use crate::tenant_router::TenantRouter;

/// Life of the token in the email.
const LETTER_LIFE: TimeDelta = TimeDelta::hours(24);

/// Changes the email addresses of accounts.
#[derive(Clone)]
pub struct EmailChanges {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) credentials: CredentialChecker,
    pub(super) index: EmailIndexSync,
    pub(super) tokens: OneTimeTokens,
    pub(super) throttle: Arc<EmailThrottle>,
    pub(super) mailer: Mailer,
    pub(super) clock: Clock,
}

impl EmailChanges {
    /// Sends an email with a token to the new address. Requires the password, so that a stolen
    /// token is not enough to take over the account.
    pub async fn request(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        (password, email): (SecretString, EmailAddress),
        client: &Client,
    ) -> Result<(), EmailError> {
        let user = self.credentials.prove_again(tenant, by, password, None, client).await?;
        // A sign-in to this account needs more than the password, so a step-up is required as well.
        if user.mfa_enabled && !self.access.has_stepped_up(&by.caller).await? {
            return Err(AccessError::StepUpRequired.into());
        }
        if email.as_str() == user.email {
            return Err(EmailError::SameAddress);
        }
        if !self.mailer.is_configured() {
            return Err(EmailError::NotConfigured);
        }
        let account = self.registry.hasher().email(&email);
        let counted = self.throttle.take(account, Purpose::EmailChange);
        counted.map_err(EmailError::TooMany)?;
        let (token, now) =
            (OpaqueToken::generate(tenant.id, self.registry.sealer())?, self.clock.now());
        let db = self.router.connect(tenant).await?;
        let asked = self.access.change_by(&db, by, async |transaction, _| {
            if !staff::lock_active(transaction, &user).await? {
                return Err(EmailError::from(CredentialError::InvalidCredentials));
            }
            let (whose, until) = ((user.id, email.as_str()), now + LETTER_LIFE);
            let purpose = Purpose::EmailChange;
            one_time_tokens::add(transaction, token.hash(), purpose, whose, now, until).await?;
            Ok(((), AuditEvent::on("email.change_requested", "staff", user.id)))
        });
        asked.await?;
        drop(db);
        let link = self.mailer.link("change-email", &token.to_text());
        let organization = name_for(tenant, &user);
        self.mailer.send(Email {
            to: email,
            subject: format!("Your new address at {organization}"),
            text: format!(
                "Somebody on the staff of {organization} wants to sign in with this address from now on. To say that it is yours, \
                 within a day:\n\n{link}\n\nIf you know nothing of it, you need do nothing.\n"
            ),
        });
        Ok(())
    }

    /// Changes the address, with the token from the email. Until the change is complete, the index
    /// contains both addresses; the tenant's database says which of them is valid.
    pub async fn confirm(&self, token: &str, client: &Client) -> Result<(), RedeemError> {
        let refused = || RedeemError::InvalidToken;
        let (token, tenant, db) = self.tokens.locate(token).await?;
        let found = one_time_tokens::find(&db, token.hash(), Purpose::EmailChange).await?;
        let OneTimeToken { staff_id, email, .. } = found.ok_or_else(refused)?;
        let user = staff::find_active(&db, staff_id).await?.ok_or_else(refused)?;
        drop(db);
        let addresses = (user.email.parse::<EmailAddress>(), email.parse::<EmailAddress>());
        let (Ok(old), Ok(new)) = addresses else {
            return Err(refused());
        };
        if old == new {
            return Err(refused());
        }
        let id = tenant.id;
        let marks = (self.index.mark(&old, id).await?, self.index.mark(&new, id).await?);
        let (db, now) = (self.router.connect(&tenant).await?, self.clock.now());
        let origin = Origin::of(user.actor(), Some(client));
        let changed = self.access.change(&db, &origin, async |transaction| {
            let purpose = Purpose::EmailChange;
            let taken = one_time_tokens::take(transaction, token.hash(), purpose, now).await?;
            taken.ok_or_else(refused)?;
            // The row is locked, so it cannot change any more; and the address must still be the
            // marked one.
            let is_same = staff::lock_active(transaction, &user).await?;
            let now_has = staff::find_active(transaction, staff_id).await?;
            if !is_same || now_has.is_none_or(|now| now.email != user.email) {
                return Err(refused());
            }
            staff_changes::set_email(transaction, staff_id, new.as_str(), now).await?;
            // Tokens that were sent to the old address become invalid.
            one_time_tokens::remove_all(transaction, staff_id).await?;
            let event = AuditEvent::on("email.changed", "staff", staff_id);
            Ok(((), event.with(json!({"from": old.as_str(), "to": new.as_str()}))))
        });
        changed.await?;
        drop(db);
        self.index.move_claim(id, &old, &new).await;
        self.index.settle(&new, id, marks.1, AddressStatus::Staff).await;
        self.index.settle(&old, id, marks.0, AddressStatus::Unknown).await;
        let old_hash = self.registry.hasher().email(&old);
        // Changes of an unproven address can be repeated without limit, so their emails are
        // throttled. A proven address always gets this email.
        if user.email_verified_at.is_none()
            && self.throttle.take(old_hash, Purpose::EmailChange).is_err()
        {
            return Ok(());
        }
        let organization = name_for(&tenant, &user);
        // An unproven old address may belong to another person, and the new address is text from
        // the person who requested the change.
        let with = match user.email_verified_at {
            Some(_) => new.as_str(),
            None => "another address",
        };
        self.mailer.send(Email {
            to: old,
            subject: format!("Your address at {organization} has changed"),
            text: format!(
                "From now on you sign in to {organization} with {with}. If it was not you who changed it, write to whoever runs it at \
                 once.\n"
            ),
        });
        Ok(())
    }
}
