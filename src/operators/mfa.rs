//! The second factor of an operator: enrolment, confirmation, removal.

use secrecy::SecretString;

use super::account::OperatorAccount;
use crate::access::{Client, OperatorCaller};
use crate::accounts::{
    CredentialError, Enrollment, MfaError, SecondFactor, TotpSecret, recovery_codes, recovery_hash,
};
use crate::audit::{AuditEvent, Origin};
use crate::registry::RegistryTransaction;
use crate::registry::people::audit_log;
use crate::registry::people::operators::{OPERATOR, second_factor, sessions};

/// Issuer that authenticator apps show beside the address.
const ISSUER: &str = "Narthex operator";

impl OperatorAccount {
    /// Creates a secret for an operator who knows the password. The second factor is required only
    /// after it is confirmed.
    pub async fn enroll(
        &self,
        caller: &OperatorCaller,
        password: SecretString,
        client: &Client,
        origin: &Origin,
    ) -> Result<Enrollment, MfaError> {
        let operator = &caller.operator;
        let proof = self.credentials.prove_password(Some(operator.clone()), password);
        let proven = self.credentials.counted(&operator.email_hash, client, proof).await?;
        let (sealer, now) = (self.registry.sealer(), self.clock.now());
        let secret = TotpSecret::generate(sealer)?;
        let otpauth_url = secret.url(ISSUER, &operator.email(sealer)?);
        let enrolled = async |transaction: &RegistryTransaction| {
            // The password may have changed while it was verified.
            let operator = self.credentials.lock(transaction, &proven).await?;
            let (id, bytes) = (operator.id, secret.bytes());
            match second_factor::enroll(transaction, sealer, id, bytes, now).await? {
                true => Ok(((), AuditEvent::on("operator.mfa_enrolled", OPERATOR, id))),
                false => Err(MfaError::AlreadyEnabled),
            }
        };
        audit_log::change(&self.registry, origin, now, enrolled).await?;
        let otpauth_url = otpauth_url.unwrap_or_default();
        Ok(Enrollment { otpauth_url, secret: secret.to_text() })
    }

    /// Enables the second factor with the first code, which proves that the app has the secret.
    /// Later sign-ins need a code. Returns the recovery codes. Other sessions end, because they
    /// were opened without a code.
    pub async fn confirm(
        &self,
        caller: &OperatorCaller,
        code: &SecretString,
        client: &Client,
        origin: &Origin,
    ) -> Result<Vec<String>, CredentialError> {
        let confirmed = async |transaction: &RegistryTransaction| {
            let codes = self.confirm_in(transaction, caller, code).await?;
            let event = AuditEvent::on("operator.mfa_confirmed", OPERATOR, caller.operator.id);
            Ok::<_, CredentialError>((codes, event))
        };
        let proof = audit_log::change(&self.registry, origin, self.clock.now(), confirmed);
        self.credentials.counted(&caller.operator.email_hash, client, proof).await
    }

    async fn confirm_in(
        &self,
        transaction: &RegistryTransaction,
        caller: &OperatorCaller,
        code: &SecretString,
    ) -> Result<Vec<String>, CredentialError> {
        let operator = self.credentials.lock(transaction, &caller.operator).await?;
        if operator.has_second_factor() || operator.sealed_totp_secret.is_none() {
            return Err(CredentialError::NoSecondFactor);
        }
        if !self.credentials.use_totp_code(transaction, &operator, code).await? {
            return Err(CredentialError::InvalidCredentials);
        }
        let codes = recovery_codes(self.registry.sealer())?;
        let hashes = codes.iter().map(|code| recovery_hash(code)).collect();
        let now = self.clock.now();
        second_factor::confirm(transaction, operator.id, hashes, now).await?;
        sessions::end_all(transaction, operator.id, Some(caller.claims.sid), now).await?;
        Ok(codes)
    }

    /// Removes the second factor. Requires the password and a code.
    pub async fn disable(
        &self,
        caller: &OperatorCaller,
        password: SecretString,
        factor: &SecondFactor,
        client: &Client,
        origin: &Origin,
    ) -> Result<(), CredentialError> {
        let proof = async {
            let known = Some(caller.operator.clone());
            let proven = self.credentials.prove_password(known, password).await?;
            let now = self.clock.now();
            let disabled = async |transaction: &RegistryTransaction| {
                let operator = self.credentials.lock(transaction, &proven).await?;
                if !operator.has_second_factor() {
                    return Err(CredentialError::NoSecondFactor);
                }
                let shown = Some(factor);
                self.credentials.prove_second_factor(transaction, &operator, shown).await?;
                second_factor::disable(transaction, operator.id, now).await?;
                let kept = Some(caller.claims.sid);
                sessions::end_all(transaction, operator.id, kept, now).await?;
                Ok(((), AuditEvent::on("operator.mfa_disabled", OPERATOR, operator.id)))
            };
            audit_log::change(&self.registry, origin, now, disabled).await
        };
        self.credentials.counted(&caller.operator.email_hash, client, proof).await
    }
}
