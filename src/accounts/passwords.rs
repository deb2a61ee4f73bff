//! Passwords of staff: reset by email, or changed with the old password.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sea_orm::TransactionTrait;
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::account_lookup::AccountLookup;
use super::credentials::{CredentialChecker, password_of};
use super::email_throttle::EmailThrottle;
use super::email_verification::name_for;
use super::error::{CredentialError, RedeemError};
use super::one_time_tokens::{OneTimeTokens, take};
use super::sessions::Sessions;
use crate::access::{AccessError, Authenticator, Client, Principal};
use crate::audit::AuditEvent;
use crate::clock::Clock;
use crate::identifiers::EmailAddress;
use crate::lifecycle::Lifecycle;
use crate::mail::{Email, Mailer};
use crate::passwords::Passwords;
use crate::registry::Registry;
use crate::registry::tenants::Tenant;
use crate::tenant_data::one_time_tokens::{self, Purpose};
use crate::tenant_data::staff;
use crate::tenant_data::{api_keys, rights, second_factor};
use crate::tenant_router::{HostName, TenantRouter, TenantTransaction};

/// Each email needs a connection for a moment. Requests above this number send no email.
const EMAILS_AT_ONCE: usize = 16;
/// A user who requests a reset is waiting for the email, so a short life is enough.
const RESET_LIFE: TimeDelta = TimeDelta::hours(1);
/// Time limit for writing reset emails. After it, no further email is sent.
const WRITING: Duration = Duration::from_secs(30);

/// A change of password.
pub struct PasswordChange {
    /// The current password.
    pub current: SecretString,
    /// The new password.
    pub new: SecretString,
}

/// Resets and changes passwords.
#[derive(Clone)]
pub struct PasswordChanges {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) lookup: AccountLookup,
    pub(super) credentials: CredentialChecker,
    pub(super) hasher: Arc<Passwords>,
    pub(super) sessions: Sessions,
    pub(super) tokens: OneTimeTokens,
    pub(super) throttle: Arc<EmailThrottle>,
    pub(super) mailer: Mailer,
    /// One permit for each reset request that is being worked on.
    pub(super) permits: Arc<Semaphore>,
    pub(super) life: Lifecycle,
    pub(super) clock: Clock,
}

/// The permits of [`PasswordChanges`].
pub fn email_permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(EMAILS_AT_ONCE))
}

impl PasswordChanges {
    /// Sends a reset email to each account of the address. The emails are sent by a background
    /// task, so that neither the response nor its time shows whether an account exists. If `tenant`
    /// or `host` names a tenant, only its account gets an email.
    pub async fn request_reset(
        &self,
        email: EmailAddress,
        tenant: Option<String>,
        host: Option<&HostName<'_>>,
    ) -> Result<(), AccessError> {
        let tenant = self.lookup.named_tenant(tenant, host).await?;
        let (Ok(permit), true) =
            (self.permits.clone().try_acquire_owned(), self.mailer.is_configured())
        else {
            tracing::warn!("a letter for a new password was asked for and is not sent");
            return Ok(());
        };
        // Not reported: an error would reveal that a reset was requested before.
        let email_hash = self.registry.hasher().email(&email);
        if self.throttle.take(email_hash, Purpose::PasswordReset).is_err() {
            return Ok(());
        }
        let this = self.clone();
        self.life.spawn_work(async move {
            let _permit = permit;
            let written =
                tokio::time::timeout(WRITING, this.send_resets(&email, tenant.as_deref()));
            match written.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a letter for a new password was not sent");
                }
                Err(_) => tracing::warn!("a letter for a new password was not sent in time"),
            }
        });
        Ok(())
    }

    async fn send_resets(
        &self,
        email: &EmailAddress,
        tenant: Option<&str>,
    ) -> Result<(), CredentialError> {
        let accounts = self.lookup.accounts(email, tenant).await?;
        for (tenant, user) in accounts {
            // The identity provider changes the passwords of its users.
            if password_of(&user).is_none() {
                continue;
            }
            let db = self.router.connect(&tenant).await?;
            let token = self.tokens.issue(&db, &user, Purpose::PasswordReset, RESET_LIFE).await?;
            let link = self.mailer.link("reset-password", &token);
            let organization = name_for(&tenant, &user);
            self.mailer.send(Email {
                to: email.clone(),
                subject: format!("A new password for {organization}"),
                text: format!(
                    "Somebody, you we hope, has asked for a new password for this address at {organization}.\n\n\
                     To set it, within an hour:\n\n{link}\n\n\
                     If it was not you, you need do nothing: the old one stays.\n"
                ),
            });
        }
        Ok(())
    }

    /// Sets a new password with the token of an email. All sessions end.
    pub async fn reset(
        &self,
        token: &str,
        password: SecretString,
        client: &Client,
    ) -> Result<(), RedeemError> {
        let refused = || RedeemError::InvalidToken;
        let (token, tenant, db) = self.tokens.locate(token).await?;
        // Checked before the costly password hash.
        let found = one_time_tokens::find(&db, token.hash(), Purpose::PasswordReset).await?;
        found.ok_or_else(refused)?;
        drop(db);
        let hash = self.hasher.hash_new(password, Vec::new()).await?;
        let (db, now) = (self.router.connect(&tenant).await?, self.clock.now());
        let reset = async |transaction: &TenantTransaction| {
            rights::lock(transaction, true).await?;
            let user = take(transaction, &token, Purpose::PasswordReset, now).await?;
            let user = user.ok_or_else(refused)?;
            if !staff::set_password(transaction, &user, hash, now).await? {
                return Err(refused());
            }
            if user.email_verified_at.is_none() {
                // Another person may have registered with this address. What that person created
                // must not survive the first proof of the address.
                second_factor::remove(transaction, user.id, now).await?;
                let keys = api_keys::revoke_made_by(transaction, user.id, now).await?;
                self.access.revoke(token.tenant, &keys).await?;
            }
            staff::record_verified(transaction, user.id, now).await?;
            // An attacker who had access may have requested a change of the address.
            one_time_tokens::remove_all(transaction, user.id).await?;
            self.sessions.end_all(transaction, token.tenant, user.id, None, now).await?;
            let event = AuditEvent::on("password.reset", "staff", user.id);
            self.access.record(transaction, &user, client, event).await?;
            Ok(())
        };
        db.begin().await?.run(reset).await
    }

    /// Sets a new password for a user who knows the old one. The user's other sessions end.
    pub async fn change(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        PasswordChange { current, new }: PasswordChange,
        client: &Client,
    ) -> Result<(), CredentialError> {
        let user = self.credentials.prove_again(tenant, by, current, None, client).await?;
        let hash = self.hasher.hash_new(new, Vec::new()).await?;
        let (db, now) = (self.router.connect(tenant).await?, self.clock.now());
        let claims = by.claims()?;
        self.access
            .change_by(&db, by, async |transaction, _| {
                // Knowledge of the old password alone must not undo a reset that was made in the
                // meantime.
                if !staff::set_password(transaction, &user, hash, now).await? {
                    return Err(CredentialError::InvalidCredentials);
                }
                // A pending change of the address has to be requested again.
                one_time_tokens::remove_all(transaction, user.id).await?;
                self.sessions
                    .end_all(transaction, claims.tid, user.id, Some(claims.sid), now)
                    .await?;
                Ok(((), AuditEvent::on("password.changed", "staff", user.id)))
            })
            .await
    }
}
