//! The second factor of staff: setting it up, asking for it, and taking it off.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::login::password_of;
use super::totp::{TotpSecret, recovery_codes, recovery_hash};
use super::{Authentication, AuthenticationError, Client, Principal};
use crate::audit::Act;
use crate::registry::people::step_ups;
use crate::registry::tenants::Tenant;
use crate::tenant_data::second_factor::{self, Factor};
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::TenantDb;

/// What somebody shows beside their password.
#[derive(Clone)]
pub enum SecondFactor {
    /// Six digits of their app.
    Totp(SecretString),
    /// One of those they keep for when the app is lost.
    RecoveryCode(SecretString),
}

/// What an authenticator app needs to know.
pub struct Enrollment {
    /// To be scanned.
    pub otpauth_url: String,
    /// To be typed in.
    pub secret: String,
}

impl Authentication {
    /// Makes a secret for an app, in the place of one that was never confirmed. Asks for the password: who has got hold of
    /// a token must not shut its owner out.
    pub async fn enroll(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        password: SecretString,
        client: &Client,
    ) -> Result<Enrollment, AuthenticationError> {
        let user = self.prove_again(tenant, by, password, None, client).await?;
        let secret = TotpSecret::generate(self.registry.sealer())?;
        let bound_to = second_factor::bound_to(tenant.id, user.id);
        let sealed = self.registry.tenant_sealer().seal(&bound_to, secret.bytes())?;
        let db = self.router.connect(tenant).await?;
        let begun = self.change_by(&db, by, async |transaction, _| {
            // Their password may have changed while it was being checked.
            if !staff::hold_active(transaction, &user).await? {
                return Err(AuthenticationError::InvalidCredentials);
            }
            let now = self.clock.now();
            if !second_factor::begin(transaction, user.id, sealed, now).await? {
                return Err(AuthenticationError::SecondFactorThere);
            }
            Ok(((), Act::on("mfa.enrolled", "staff", user.id)))
        });
        begun.await?;
        let url = secret.url(&tenant.organization_name, &user.email);
        Ok(Enrollment { otpauth_url: url.unwrap_or_default(), secret: secret.to_text() })
    }

    /// A code proves that the app has the secret: from now on it is asked for. All other sessions end. Returns the recovery
    /// codes, which are shown this once.
    pub async fn confirm_factor(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        code: &SecretString,
        client: &Client,
    ) -> Result<Vec<String>, AuthenticationError> {
        let db = self.router.connect(tenant).await?;
        let refused = || AuthenticationError::InvalidCredentials;
        let claims = by.claims()?;
        let user = staff::find_active(&db, claims.sub).await?.ok_or_else(refused)?;
        let factor = second_factor::find(&db, user.id).await?;
        let factor = factor.ok_or(AuthenticationError::NoSecondFactor)?;
        if factor.is_confirmed {
            return Err(AuthenticationError::SecondFactorThere);
        }
        let now = self.clock.now();
        let proof = async {
            let secret = self.open_secret(tenant.id, user.id, &factor)?;
            secret.step_of(code.expose_secret(), factor.last_step, now).ok_or_else(refused)
        };
        let step = self.counted_for(&user, client, proof).await?;
        let codes = recovery_codes(self.registry.sealer())?;
        let hashes = codes.iter().map(|code| recovery_hash(code)).collect();
        let shown = (factor.sealed_secret, step);
        let confirmed = self.change_by(&db, by, async |transaction, _| {
            if !second_factor::confirm(transaction, user.id, shown, hashes, now).await? {
                return Err(AuthenticationError::SecondFactorThere);
            }
            self.end_sessions(transaction, claims.tid, user.id, Some(claims.sid), now).await?;
            Ok(((), Act::on("mfa.enabled", "staff", user.id)))
        });
        confirmed.await?;
        Ok(codes)
    }

    /// Takes the second factor off, for whoever shows both.
    pub async fn disable_factor(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        (password, factor): (SecretString, SecondFactor),
        client: &Client,
    ) -> Result<(), AuthenticationError> {
        let user = self.prove_again(tenant, by, password, Some(factor), client).await?;
        let db = self.router.connect(tenant).await?;
        self.change_by(&db, by, async |transaction, _| {
            if !staff::hold_active(transaction, &user).await? {
                return Err(AuthenticationError::InvalidCredentials);
            }
            if !second_factor::remove(transaction, user.id, self.clock.now()).await? {
                return Err(AuthenticationError::NoSecondFactor);
            }
            let registry = self.registry.connect().await?;
            step_ups::forget(&registry, user.id).await?;
            Ok(((), Act::on("mfa.disabled", "staff", user.id)))
        })
        .await
    }

    /// Somebody who is signed in shows all that a sign-in would ask of them; counted like one.
    pub async fn prove(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        (password, factor): (SecretString, Option<SecondFactor>),
        client: &Client,
    ) -> Result<StaffMember, AuthenticationError> {
        let user = self.prove_again(tenant, by, password, factor.clone(), client).await?;
        // Without a code, for whoever has none.
        match factor.is_none() && user.mfa_enabled {
            true => Err(AuthenticationError::MfaRequired),
            false => Ok(user),
        }
    }

    /// Somebody who is signed in proves once more that they are who they are; counted like a sign-in.
    pub(super) async fn prove_again(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        password: SecretString,
        factor: Option<SecondFactor>,
        client: &Client,
    ) -> Result<StaffMember, AuthenticationError> {
        let db = self.router.connect(tenant).await?;
        let user = staff::find_active(&db, by.claims()?.sub).await?;
        drop(db);
        let user = user.ok_or(AuthenticationError::InvalidCredentials)?;
        let Some(stored) = password_of(&user) else {
            return Err(AuthenticationError::KeptElsewhere);
        };
        let proof = async {
            if !self.passwords.verify(password, Some(stored)).await? {
                return Err(AuthenticationError::InvalidCredentials);
            }
            match &factor {
                None => Ok(()),
                Some(_) if !user.mfa_enabled => Err(AuthenticationError::NoSecondFactor),
                Some(_) => {
                    let db = self.router.connect(tenant).await?;
                    self.check_factor(&db, tenant, &user, factor.as_ref()).await
                }
            }
        };
        self.counted_for(&user, client, proof).await?;
        Ok(user)
    }

    /// Asks whoever has a second factor for it. What was shown is used up.
    pub(super) async fn check_factor(
        &self,
        db: &TenantDb,
        tenant: &Tenant,
        user: &StaffMember,
        shown: Option<&SecondFactor>,
    ) -> Result<(), AuthenticationError> {
        if !user.mfa_enabled {
            return Ok(());
        }
        let is_good = match shown {
            None => return Err(AuthenticationError::MfaRequired),
            Some(SecondFactor::RecoveryCode(code)) => {
                let hash = recovery_hash(code.expose_secret());
                second_factor::use_recovery_code(db, user.id, hash).await?
            }
            Some(SecondFactor::Totp(code)) => {
                let factor = second_factor::find(db, user.id).await?;
                let factor = factor.ok_or(AuthenticationError::InvalidCredentials)?;
                let secret = self.open_secret(tenant.id, user.id, &factor)?;
                let now = self.clock.now();
                match secret.step_of(code.expose_secret(), factor.last_step, now) {
                    Some(step) => second_factor::use_step(db, user.id, step).await?,
                    None => false,
                }
            }
        };
        is_good.then_some(()).ok_or(AuthenticationError::InvalidCredentials)
    }

    fn open_secret(
        &self,
        tenant: Uuid,
        staff: Uuid,
        factor: &Factor,
    ) -> Result<TotpSecret, AuthenticationError> {
        let bound_to = second_factor::bound_to(tenant, staff);
        let opened = self.registry.tenant_sealer().open(&bound_to, &factor.sealed_secret)?;
        Ok(TotpSecret::of_bytes(opened))
    }
}
