//! Passwords and addresses: changing and forgetting the one, proving the other. What is sent to an address is good once,
//! for a while, and as long as the address is still theirs.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{TransactionSession, TransactionTrait};
use secrecy::SecretString;
use uuid::Uuid;

use super::login::password_of;
use super::opaque_token::OpaqueToken;
use super::{Authentication, AuthenticationError, Client, Principal};
use crate::audit::Act;
use crate::identifiers::{EmailAddress, TenantId};
use crate::limits::Standing;
use crate::mail::Letter;
use crate::plain_text::quoted;
use crate::postgres::Scoped;
use crate::registry::people::step_ups;
use crate::registry::tenants::Tenant;
use crate::tenant_data::one_time_tokens::{self, OneTimeToken, Purpose};
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_data::{api_keys, rights, second_factor, sessions};
use crate::tenant_router::{HostName, TenantDb, TenantTransaction};

/// Whoever asks for a new password sits in front of their mail.
const RESET_LIFE: TimeDelta = TimeDelta::hours(1);
const VERIFICATION_LIFE: TimeDelta = TimeDelta::hours(24);
/// A letter that was asked for is written within this, or not at all.
const WRITING: Duration = Duration::from_secs(30);

impl Authentication {
    /// Sends a letter to everybody with this address by which they can set a new password. It is written behind the back of
    /// the request, which learns nothing of whether there is anybody. `tenant`, or the tenant of `host`: only there.
    pub async fn forgot_password(
        &self,
        email: EmailAddress,
        tenant: Option<String>,
        host: Option<&HostName<'_>>,
    ) -> Result<(), AuthenticationError> {
        let tenant = self.named(tenant, host).await?;
        let (Ok(turn), true) = (self.letters.clone().try_acquire_owned(), self.mailer.is_set_up())
        else {
            tracing::warn!("a letter for a new password was asked for and is not sent");
            return Ok(());
        };
        // Nobody is told: the answer would say who has asked before.
        if self
            .attempts
            .ask_for_letter(self.registry.hasher().email(&email), Purpose::PasswordReset)
            .is_err()
        {
            return Ok(());
        }
        let this = self.clone();
        self.life.spawn_work(async move {
            let _turn = turn;
            let written =
                tokio::time::timeout(WRITING, this.send_resets(&email, tenant.as_deref()));
            match written.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a letter for a new password was not sent")
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
    ) -> Result<(), AuthenticationError> {
        let accounts = self.accounts(email, tenant).await?;
        for (tenant, user) in accounts {
            // Whom an identity provider keeps changes the password there.
            if password_of(&user).is_none() {
                continue;
            }
            let db = self.router.connect(&tenant).await?;
            let token = self.one_time_token(&db, &user, Purpose::PasswordReset, RESET_LIFE).await?;
            let link = self.mailer.link("reset-password", &token);
            let organization = name_for(&tenant, &user);
            self.mailer.send(Letter {
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

    /// Sets a new password by a token from a letter. All sessions end.
    pub async fn reset_password(
        &self,
        token: &str,
        password: SecretString,
        client: &Client,
    ) -> Result<(), AuthenticationError> {
        let refused = || AuthenticationError::InvalidOneTimeToken;
        let (token, tenant, db) = self.bring(token).await?;
        // Before a hash is paid for.
        let found = one_time_tokens::find(&db, token.hash(), Purpose::PasswordReset).await?;
        found.ok_or_else(refused)?;
        drop(db);
        let hash = self.passwords.hash_new(password, Vec::new()).await?;
        let (db, now) = (self.router.connect(&tenant).await?, self.clock.now());
        let transaction = db.begin().await?;
        rights::hold(&transaction, true).await?;
        let Some(user) = take(&transaction, &token, Purpose::PasswordReset, now).await? else {
            transaction.rollback().await?;
            return Err(refused());
        };
        if !staff::set_password(&transaction, &user, hash, now).await? {
            transaction.rollback().await?;
            return Err(refused());
        }
        if user.email_verified_at.is_none() {
            // Somebody else may have registered with this address: nothing that they made outlives its first proof.
            second_factor::remove(&transaction, user.id, now).await?;
            let keys = api_keys::revoke_made_by(&transaction, user.id, now).await?;
            self.revocations.revoke(token.tenant, &keys, self.tokens.life()).await?;
        }
        staff::record_verified(&transaction, user.id, now).await?;
        // Whoever was in before may be waiting to move the account to an address of theirs.
        one_time_tokens::remove_all(&transaction, user.id).await?;
        self.end_sessions(&transaction, token.tenant, user.id, None, now).await?;
        let act = Act::on("password.reset", "staff", user.id);
        self.note(&transaction, &user, client, act).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Sets a new password for somebody who knows the old one. Their other sessions end.
    pub async fn change_password(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        (current, new): (SecretString, SecretString),
        client: &Client,
    ) -> Result<(), AuthenticationError> {
        let user = self.prove_again(tenant, by, current, None, client).await?;
        let hash = self.passwords.hash_new(new, Vec::new()).await?;
        let (db, now) = (self.router.connect(tenant).await?, self.clock.now());
        let claims = by.claims()?;
        self.change_by(&db, by, async |transaction, _| {
            // Whoever knows the old password alone must not undo a reset that has just been made against them.
            if !staff::set_password(transaction, &user, hash, now).await? {
                return Err(AuthenticationError::InvalidCredentials);
            }
            // An address that somebody wants to move the account to is asked for anew.
            one_time_tokens::remove_all(transaction, user.id).await?;
            self.end_sessions(transaction, claims.tid, user.id, Some(claims.sid), now).await?;
            Ok(((), Act::on("password.changed", "staff", user.id)))
        })
        .await
    }

    /// Sends a letter by which somebody proves that their address is theirs, unless one that is still good is on its way.
    pub(super) async fn ask_to_verify(
        &self,
        db: &TenantDb,
        user: &StaffMember,
    ) -> Result<(), AuthenticationError> {
        if user.email_verified_at.is_some() || !self.mailer.is_set_up() {
            return Ok(());
        }
        let purpose = Purpose::EmailVerification;
        if one_time_tokens::is_any_there(db, user.id, purpose, self.clock.now()).await? {
            return Ok(());
        }
        // Anybody can register with the address of another, again and again.
        match self.count_verification(user) {
            Ok(()) => self.send_verification(db, user).await,
            Err(_) => Ok(()),
        }
    }

    fn count_verification(&self, user: &StaffMember) -> Result<(), Standing> {
        let Ok(email) = user.email.parse() else { return Ok(()) };
        let account = self.registry.hasher().email(&email);
        self.attempts.ask_for_letter(account, Purpose::EmailVerification)
    }

    /// Sends the letter again.
    pub async fn resend_verification(
        &self,
        by: &Principal,
        db: &TenantDb,
    ) -> Result<(), AuthenticationError> {
        let id = by.claims()?.sub;
        let user = self
            .look_by(db, by, async |transaction, _| Ok(staff::find_active(transaction, id).await?));
        let user = user.await?.ok_or(AuthenticationError::InvalidCredentials)?;
        if user.email_verified_at.is_some() || !self.mailer.is_set_up() {
            return Ok(());
        }
        self.count_verification(&user).map_err(AuthenticationError::TooManyLetters)?;
        self.send_verification(db, &user).await
    }

    /// The first letter to an address that anybody can have registered: nothing of what they have written stands in it.
    async fn send_verification(
        &self,
        db: &TenantDb,
        user: &StaffMember,
    ) -> Result<(), AuthenticationError> {
        let Ok(to) = user.email.parse() else { return Ok(()) };
        let purpose = Purpose::EmailVerification;
        let token = self.one_time_token(db, user, purpose, VERIFICATION_LIFE).await?;
        let link = self.mailer.link("verify-email", &token);
        self.mailer.send(Letter {
            to,
            subject: "Is this your address?".to_owned(),
            text: format!(
                "An organization was registered with this address. If you have registered it, say so within a day:\n\n{link}\n\n\
                 If you have not, do not follow the link: whoever has registered it would be taken for you. You need do nothing.\n"
            ),
        });
        Ok(())
    }

    /// Somebody has got the letter: the address is theirs.
    pub async fn verify_email(
        &self,
        token: &str,
        client: &Client,
    ) -> Result<(), AuthenticationError> {
        let (token, _, db) = self.bring(token).await?;
        let now = self.clock.now();
        let transaction = db.begin().await?;
        let Some(user) = take(&transaction, &token, Purpose::EmailVerification, now).await? else {
            transaction.rollback().await?;
            return Err(AuthenticationError::InvalidOneTimeToken);
        };
        staff::record_verified(&transaction, user.id, now).await?;
        // Whoever asked to move the account away had not proven that it is theirs.
        one_time_tokens::remove(&transaction, user.id, Purpose::EmailChange).await?;
        let act = Act::on("email.verified", "staff", user.id);
        self.note(&transaction, &user, client, act).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// A new token for somebody, as it is sent.
    async fn one_time_token(
        &self,
        db: &TenantDb,
        user: &StaffMember,
        purpose: Purpose,
        life: TimeDelta,
    ) -> Result<String, AuthenticationError> {
        let (token, now) = (self.new_token(TenantId(db.scope().tenant().id))?, self.clock.now());
        let transaction = db.begin().await?;
        // They may have been removed meanwhile.
        if !staff::hold_active(&transaction, user).await? {
            transaction.rollback().await?;
            return Err(AuthenticationError::InvalidCredentials);
        }
        let whose = (user.id, &*user.email);
        one_time_tokens::add(&transaction, token.hash(), purpose, whose, now, now + life).await?;
        transaction.commit().await?;
        Ok(token.to_text())
    }

    /// A token that somebody brings, and the database in which it may be.
    pub(super) async fn bring(
        &self,
        text: &str,
    ) -> Result<(OpaqueToken, Arc<Tenant>, TenantDb), AuthenticationError> {
        let refused = || AuthenticationError::InvalidOneTimeToken;
        let token = OpaqueToken::parse(text).ok_or_else(refused)?;
        let tenant = self.router.directory().tenant(token.tenant).await?.ok_or_else(refused)?;
        let db = self.router.connect(&tenant).await?;
        Ok((token, tenant, db))
    }

    /// Ends the sessions of somebody, but perhaps for one, and what was asked for in any: to move the account to another address. The
    /// registry hears of it before the tenant's transaction commits:
    /// should it not be there, nothing has changed, and the caller can ask again.
    pub(super) async fn end_sessions(
        &self,
        transaction: &TenantTransaction,
        tenant: TenantId,
        staff: Uuid,
        but: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<(), AuthenticationError> {
        let since = now - self.tokens.life();
        let ended = sessions::revoke_all(transaction, staff, but, now, since).await?;
        one_time_tokens::remove(transaction, staff, Purpose::EmailChange).await?;
        // Nor does anything count that was proven in one that goes on.
        let registry = self.registry.connect().await?;
        step_ups::forget(&registry, staff).await?;
        drop(registry);
        Ok(self.revocations.revoke(tenant, &ended, self.tokens.life()).await?)
    }
}

/// What an organization is called in a letter to somebody on its staff. Anybody can register one under the address of another
/// and give it any name: whoever has not proven that the address is theirs does not read it.
pub(super) fn name_for(tenant: &Tenant, user: &StaffMember) -> String {
    match user.email_verified_at {
        Some(_) => quoted(&tenant.organization_name),
        None => "an organization".to_owned(),
    }
}

/// Whose token it is: it is used up, and good only if they are still there and have the address it was sent to.
async fn take(
    transaction: &TenantTransaction,
    token: &OpaqueToken,
    purpose: Purpose,
    now: DateTime<Utc>,
) -> Result<Option<StaffMember>, AuthenticationError> {
    let taken = one_time_tokens::take(transaction, token.hash(), purpose, now).await?;
    let Some(OneTimeToken { staff_id, email, .. }) = taken else { return Ok(None) };
    let user = staff::find_active(transaction, staff_id).await?;
    Ok(user.filter(|user| user.email == email))
}
