//! Verification of staff credentials: password and second factor. Failed attempts are counted.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::account_lookup::AccountLookup;
use super::error::{CredentialError, SignInFailure};
use super::login_throttle::LoginThrottle;
use super::totp::{TotpSecret, recovery_hash};
use crate::access::{AccessError, Client, Principal};
use crate::clock::Clock;
use crate::identifiers::{EmailAddress, TenantId};
use crate::limits::network_of;
use crate::passwords::Passwords;
use crate::registry::Registry;
use crate::registry::tenants::Tenant;
use crate::sealing::aad;
use crate::tenant_data::external_identities::NO_PASSWORD;
use crate::tenant_data::second_factor::{self, Factor};
use crate::tenant_data::sessions;
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::{TenantDb, TenantRouter};

/// The second factor in a request.
#[derive(Clone)]
pub enum SecondFactor {
    /// A code of six digits from an authenticator app.
    Totp(SecretString),
    /// A recovery code, for a user who has lost the authenticator app.
    RecoveryCode(SecretString),
}

/// Verifies passwords and second factors.
#[derive(Clone)]
pub struct CredentialChecker {
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) lookup: AccountLookup,
    pub(super) hasher: Arc<Passwords>,
    pub(super) throttle: Arc<LoginThrottle>,
    /// True if email is configured, so that users can prove their addresses.
    pub(super) addresses_are_proven: bool,
    pub(super) clock: Clock,
}

impl CredentialChecker {
    /// True if the user's address is proven. Anyone can register with a foreign address, so an
    /// unproven account must not make a network a known one. Without email no address can be
    /// proven, and every address counts as proven.
    pub fn is_proven(&self, user: &StaffMember) -> bool {
        user.email_verified_at.is_some() || !self.addresses_are_proven
    }

    /// Runs a proof of identity and counts it if it fails. `is_theirs`: true if the address of the
    /// proven account is proven to belong to its user.
    pub async fn counted<T, E: SignInFailure>(
        &self,
        email: &EmailAddress,
        client: &Client,
        is_theirs: impl FnOnce(&T) -> bool,
        proof: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let account = self.registry.hasher().email(email);
        let network = network_of(client.ip);
        let is_at_home = self.is_signed_in_from(email, network);
        self.throttle.counted(account, network, is_at_home, is_theirs, proof).await
    }

    /// As [`Self::counted`], for a known user.
    pub async fn counted_for<T, E: SignInFailure>(
        &self,
        user: &StaffMember,
        client: &Client,
        proof: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match user.email.parse() {
            // A stolen token must not allow more guesses than a sign-in allows.
            Ok(email) => self.counted(&email, client, |_| self.is_proven(user), proof).await,
            Err(_) => proof.await,
        }
    }

    /// True if a user with this address has a session that was last used from this network.
    async fn is_signed_in_from(&self, email: &EmailAddress, network: IpAddr) -> bool {
        let Ok(accounts) = self.lookup.accounts(email, None).await else { return false };
        for (tenant, user) in accounts.into_iter().filter(|(_, user)| self.is_proven(user)) {
            let Ok(db) = self.router.connect(&tenant).await else { continue };
            let ips = sessions::addresses_of(&db, user.id, self.clock.now()).await;
            if ips.is_ok_and(|ips| ips.into_iter().any(|ip| network_of(ip) == network)) {
                return true;
            }
        }
        false
    }

    /// Verifies everything that a sign-in needs, for a signed-in user. Failures count as failed
    /// sign-ins.
    pub async fn prove(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        (password, factor): (SecretString, Option<SecondFactor>),
        client: &Client,
    ) -> Result<StaffMember, CredentialError> {
        let user = self.prove_again(tenant, by, password, factor.clone(), client).await?;
        // A request without a code is enough only for a user without a second factor.
        match factor.is_none() && user.mfa_enabled {
            true => Err(CredentialError::MfaRequired),
            false => Ok(user),
        }
    }

    /// Verifies the password of a signed-in user, and the second factor if the request has one.
    /// Failures count as failed sign-ins.
    pub(super) async fn prove_again(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        password: SecretString,
        factor: Option<SecondFactor>,
        client: &Client,
    ) -> Result<StaffMember, CredentialError> {
        let db = self.router.connect(tenant).await?;
        let user = staff::find_active(&db, by.claims()?.sub).await?;
        drop(db);
        let user = user.ok_or(CredentialError::InvalidCredentials)?;
        let Some(stored) = password_of(&user) else {
            return Err(CredentialError::ManagedByIdentityProvider);
        };
        let proof = async {
            if !self.hasher.verify(password, Some(stored)).await? {
                return Err(CredentialError::InvalidCredentials);
            }
            match &factor {
                None => Ok(()),
                Some(_) if !user.mfa_enabled => Err(CredentialError::NoSecondFactor),
                Some(_) => {
                    let db = self.router.connect(tenant).await?;
                    self.check_factor(&db, tenant, &user, factor.as_ref()).await
                }
            }
        };
        self.counted_for(&user, client, proof).await?;
        Ok(user)
    }

    /// Verifies the second factor of a user who has one. A code is used up and cannot be used
    /// again.
    pub(super) async fn check_factor(
        &self,
        db: &TenantDb,
        tenant: &Tenant,
        user: &StaffMember,
        shown: Option<&SecondFactor>,
    ) -> Result<(), CredentialError> {
        if !user.mfa_enabled {
            return Ok(());
        }
        let is_good = match shown {
            None => return Err(CredentialError::MfaRequired),
            Some(SecondFactor::RecoveryCode(code)) => {
                let hash = recovery_hash(code.expose_secret());
                second_factor::use_recovery_code(db, user.id, hash).await?
            }
            Some(SecondFactor::Totp(code)) => {
                let factor = second_factor::find(db, user.id).await?;
                let factor = factor.ok_or(CredentialError::InvalidCredentials)?;
                let secret = self.open_secret(tenant.id, user.id, &factor)?;
                let now = self.clock.now();
                match secret.step_of(code.expose_secret(), factor.last_step, now) {
                    Some(step) => second_factor::use_step(db, user.id, step).await?,
                    None => false,
                }
            }
        };
        is_good.then_some(()).ok_or(CredentialError::InvalidCredentials)
    }

    /// Decrypts the secret of a second factor.
    pub(super) fn open_secret(
        &self,
        tenant: TenantId,
        staff: Uuid,
        factor: &Factor,
    ) -> Result<TotpSecret, AccessError> {
        let aad = aad::staff_totp_secret(tenant, staff);
        let opened = self.registry.tenant_sealer().open(&aad, &factor.sealed_secret)?;
        Ok(TotpSecret::of_bytes(opened))
    }
}

/// The password hash of a user. `None` for an account of an identity provider; to the client, such
/// an account looks like an unknown one.
pub fn password_of(user: &StaffMember) -> Option<String> {
    Some(user.password_hash.clone()).filter(|hash| hash != NO_PASSWORD)
}
