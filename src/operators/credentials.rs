//! Verification of operators' credentials: password and second factor. Failed attempts are counted
//! as those of staff.

use std::future::Future;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::access::Client;
use crate::accounts::{CredentialError, LoginThrottle, SecondFactor, TotpSecret, recovery_hash};
use crate::clock::Clock;
use crate::limits::network_of;
use crate::passwords::Passwords;
use crate::registry::people::operators::{self, Operator, Status, second_factor, sessions};
use crate::registry::{Registry, RegistryTransaction};

/// Prefix of the address hash, so that failed attempts of a member of staff with the same address
/// are counted separately.
const ACCOUNT: &[u8] = b"operator:";

/// Verifies the passwords and second factors of operators.
#[derive(Clone)]
pub struct OperatorCredentialChecker {
    pub(super) registry: Registry,
    pub(super) hasher: Arc<Passwords>,
    pub(super) throttle: Arc<LoginThrottle>,
    pub(super) clock: Clock,
}

impl OperatorCredentialChecker {
    /// Runs a proof of an operator's identity and counts it if it fails.
    pub async fn counted<T>(
        &self,
        email_hash: &[u8],
        client: &Client,
        proof: impl Future<Output = Result<T, CredentialError>>,
    ) -> Result<T, CredentialError> {
        let network = network_of(client.ip);
        let is_at_home = async {
            let Ok(db) = self.registry.connect().await else { return false };
            let found = operators::find_by_email(&db, email_hash.to_vec()).await;
            let Ok(Some(operator)) = found else { return false };
            let ips = sessions::addresses_of(&db, operator.id).await;
            ips.is_ok_and(|ips| ips.into_iter().any(|ip| network_of(ip) == network))
        };
        let account = [ACCOUNT, email_hash].concat();
        self.throttle.counted(account, network, is_at_home, |_| true, proof).await
    }

    /// Fails if the password is not the operator's. Without an operator it fails after the same
    /// amount of work.
    pub async fn prove_password(
        &self,
        operator: Option<Operator>,
        password: SecretString,
    ) -> Result<Operator, CredentialError> {
        let stored = operator.as_ref().map(|operator| operator.password_hash.clone());
        let is_right = self.hasher.verify(password, stored).await?;
        operator.filter(|_| is_right).ok_or(CredentialError::InvalidCredentials)
    }

    /// Reads and locks the operator's row until the transaction ends. Fails if the password has
    /// changed since it was verified, or if the operator may not sign in any more.
    pub async fn lock(
        &self,
        transaction: &RegistryTransaction,
        proven: &Operator,
    ) -> Result<Operator, CredentialError> {
        let held = operators::lock(transaction, proven.id).await?;
        let is_same = |held: &Operator| {
            held.status == Status::Active && held.password_set_at == proven.password_set_at
        };
        held.filter(is_same).ok_or(CredentialError::InvalidCredentials)
    }

    /// Fails if the second factor is missing, wrong or already used. The operator's row must be
    /// locked.
    pub async fn prove_second_factor(
        &self,
        transaction: &RegistryTransaction,
        operator: &Operator,
        factor: Option<&SecondFactor>,
    ) -> Result<(), CredentialError> {
        let is_good = match factor {
            None => return Err(CredentialError::MfaRequired),
            Some(SecondFactor::Totp(code)) => {
                self.use_totp_code(transaction, operator, code).await?
            }
            Some(SecondFactor::RecoveryCode(code)) => {
                let hash = recovery_hash(code.expose_secret());
                second_factor::use_recovery_code(transaction, operator.id, hash).await?
            }
        };
        is_good.then_some(()).ok_or(CredentialError::InvalidCredentials)
    }

    pub async fn use_totp_code(
        &self,
        transaction: &RegistryTransaction,
        operator: &Operator,
        code: &SecretString,
    ) -> Result<bool, CredentialError> {
        let Some(secret) = operator.totp_secret(self.registry.sealer())? else { return Ok(false) };
        let secret = TotpSecret::of_bytes(secret);
        match secret.step_of(code.expose_secret(), operator.totp_last_step, self.clock.now()) {
            Some(step) => Ok(second_factor::use_step(transaction, operator.id, step).await?),
            None => Ok(false),
        }
    }
}
