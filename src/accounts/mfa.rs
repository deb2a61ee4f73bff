//! Second factors of staff: enrolment, confirmation and removal.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::credentials::{CredentialChecker, SecondFactor};
use super::error::CredentialError;
use super::sessions::Sessions;
use super::totp::{TotpSecret, recovery_codes, recovery_hash};
use crate::access::{AccessError, Authenticator, Client, Principal, from_access_causes};
use crate::audit::AuditEvent;
use crate::clock::Clock;
use crate::registry::Registry;
use crate::registry::people::step_ups;
use crate::registry::tenants::Tenant;
use crate::sealing::aad;
use crate::tenant_data::{second_factor, staff};
use crate::tenant_router::TenantRouter;

/// Reason why a second factor is not set up or not removed.
#[derive(Debug, thiserror::Error)]
pub enum MfaError {
    /// The account already has a second factor.
    #[error("there is a second factor already")]
    AlreadyEnabled,
    /// The proof of identity is refused.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The caller is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(MfaError);

/// The secret for an authenticator app.
pub struct Enrollment {
    /// `otpauth://` URL, to be shown as a QR code.
    pub otpauth_url: String,
    /// The secret in base32, to be typed in.
    pub secret: String,
}

/// Sets up and removes second factors.
#[derive(Clone)]
pub struct Mfa {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) credentials: CredentialChecker,
    pub(super) sessions: Sessions,
    pub(super) clock: Clock,
}

impl Mfa {
    /// Creates a secret, which replaces one that was never confirmed. Requires the password, so
    /// that an attacker with a stolen token cannot lock the user out.
    pub async fn enroll(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        password: SecretString,
        client: &Client,
    ) -> Result<Enrollment, MfaError> {
        let user = self.credentials.prove_again(tenant, by, password, None, client).await?;
        let secret = TotpSecret::generate(self.registry.sealer())?;
        let aad = aad::staff_totp_secret(tenant.id, user.id);
        let sealed = self.registry.tenant_sealer().seal(&aad, secret.bytes())?;
        let db = self.router.connect(tenant).await?;
        let begun = self.access.change_by(&db, by, async |transaction, _| {
            // The password may have changed while it was verified.
            if !staff::lock_active(transaction, &user).await? {
                return Err(CredentialError::InvalidCredentials.into());
            }
            let now = self.clock.now();
            if !second_factor::begin(transaction, user.id, sealed, now).await? {
                return Err(MfaError::AlreadyEnabled);
            }
            Ok(((), AuditEvent::on("mfa.enrolled", "staff", user.id)))
        });
        begun.await?;
        let url = secret.url(&tenant.organization_name, &user.email);
        Ok(Enrollment { otpauth_url: url.unwrap_or_default(), secret: secret.to_text() })
    }

    /// Enables the second factor, with a code that proves that the app has the secret. All other
    /// sessions end. Returns the recovery codes, which are shown only once.
    pub async fn confirm(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        code: &SecretString,
        client: &Client,
    ) -> Result<Vec<String>, MfaError> {
        let db = self.router.connect(tenant).await?;
        let refused = || CredentialError::InvalidCredentials;
        let claims = by.claims()?;
        let user = staff::find_active(&db, claims.sub).await?.ok_or_else(refused)?;
        let factor = second_factor::find(&db, user.id).await?;
        let factor = factor.ok_or(CredentialError::NoSecondFactor)?;
        if factor.is_confirmed {
            return Err(MfaError::AlreadyEnabled);
        }
        let now = self.clock.now();
        let proof = async {
            let secret = self.credentials.open_secret(tenant.id, user.id, &factor)?;
            secret.step_of(code.expose_secret(), factor.last_step, now).ok_or_else(refused)
        };
        let step = self.credentials.counted_for(&user, client, proof).await?;
        let codes = recovery_codes(self.registry.sealer())?;
        let hashes = codes.iter().map(|code| recovery_hash(code)).collect();
        let shown = (factor.sealed_secret, step);
        let confirmed = self.access.change_by(&db, by, async |transaction, _| {
            if !second_factor::confirm(transaction, user.id, shown, hashes, now).await? {
                return Err(MfaError::AlreadyEnabled);
            }
            self.sessions.end_all(transaction, claims.tid, user.id, Some(claims.sid), now).await?;
            Ok(((), AuditEvent::on("mfa.enabled", "staff", user.id)))
        });
        confirmed.await?;
        Ok(codes)
    }

    /// Removes the second factor. Requires the password and a code.
    pub async fn disable(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        (password, factor): (SecretString, SecondFactor),
        client: &Client,
    ) -> Result<(), MfaError> {
        let user = self.credentials.prove_again(tenant, by, password, Some(factor), client).await?;
        let db = self.router.connect(tenant).await?;
        self.access
            .change_by(&db, by, async |transaction, _| {
                if !staff::lock_active(transaction, &user).await? {
                    return Err(CredentialError::InvalidCredentials.into());
                }
                if !second_factor::remove(transaction, user.id, self.clock.now()).await? {
                    return Err(CredentialError::NoSecondFactor.into());
                }
                let registry = self.registry.connect().await?;
                step_ups::forget(&registry, user.id).await?;
                Ok(((), AuditEvent::on("mfa.disabled", "staff", user.id)))
            })
            .await
    }
}
