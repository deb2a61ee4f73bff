//! The second factor of an operator: set up, confirmed, asked for, switched off.

use secrecy::{ExposeSecret, SecretString};

use super::{Act, OperatorCaller};
use crate::audit::Origin;
use crate::authentication::totp::{TotpSecret, recovery_codes, recovery_hash};
use crate::authentication::{
    Authentication, AuthenticationError, Client, Enrollment, SecondFactor,
};
use crate::registry::people::operators::{OPERATOR, Operator, second_factor, sessions};
use crate::registry::{RegistryTransaction, roll_back};

/// What authenticator apps show beside the address.
const ISSUER: &str = "Narthex operator";

impl Authentication {
    /// Fails where the second factor is missing, wrong, or was used before. The operator's row is held.
    pub(super) async fn prove_second_factor(
        &self,
        transaction: &RegistryTransaction,
        operator: &Operator,
        factor: Option<&SecondFactor>,
    ) -> Result<(), AuthenticationError> {
        let is_good = match factor {
            None => return Err(AuthenticationError::MfaRequired),
            Some(SecondFactor::Totp(code)) => {
                self.use_totp_code(transaction, operator, code).await?
            }
            Some(SecondFactor::RecoveryCode(code)) => {
                let hash = recovery_hash(code.expose_secret());
                second_factor::use_recovery_code(transaction, operator.id, hash).await?
            }
        };
        is_good.then_some(()).ok_or(AuthenticationError::InvalidCredentials)
    }

    async fn use_totp_code(
        &self,
        transaction: &RegistryTransaction,
        operator: &Operator,
        code: &SecretString,
    ) -> Result<bool, AuthenticationError> {
        let Some(secret) = operator.totp_secret(self.registry.sealer())? else { return Ok(false) };
        let secret = TotpSecret::of_bytes(secret);
        match secret.step_of(code.expose_secret(), operator.totp_last_step, self.clock.now()) {
            Some(step) => Ok(second_factor::use_step(transaction, operator.id, step).await?),
            None => Ok(false),
        }
    }

    /// A new secret for somebody who knows their password. It asks for nothing until it is confirmed.
    pub async fn enroll_operator(
        &self,
        caller: &OperatorCaller,
        password: SecretString,
        client: &Client,
        origin: &Origin,
    ) -> Result<Enrollment, AuthenticationError> {
        let operator = &caller.operator;
        let proof = self.prove_password(Some(operator.clone()), password);
        let proven = self.counted_operator(&operator.email_hash, client, proof).await?;
        let (sealer, now) = (self.registry.sealer(), self.clock.now());
        let secret = TotpSecret::generate(sealer)?;
        let otpauth_url = secret.url(ISSUER, &self.email_of(operator)?);
        let transaction = self.registry.begin().await?;
        let enrolled = async {
            // Their password may have changed while it was being checked.
            let operator = self.hold_operator(&transaction, &proven).await?;
            let (id, bytes) = (operator.id, secret.bytes());
            match second_factor::enroll(&transaction, sealer, id, bytes, now).await? {
                true => Ok(()),
                false => Err(AuthenticationError::SecondFactorThere),
            }
        };
        if let Err(refused) = enrolled.await {
            roll_back(transaction).await?;
            return Err(refused);
        }
        let act = Act::on("operator.mfa_enrolled", OPERATOR, operator.id);
        self.conclude(transaction, origin, act).await?;
        let otpauth_url = otpauth_url.unwrap_or_default();
        Ok(Enrollment { otpauth_url, secret: secret.to_text() })
    }

    /// The first code proves that the app has the secret: from then on sign-ins ask for one. Returns the recovery codes. Other
    /// sessions, which were opened without, end.
    pub async fn confirm_operator(
        &self,
        caller: &OperatorCaller,
        code: &SecretString,
        client: &Client,
        origin: &Origin,
    ) -> Result<Vec<String>, AuthenticationError> {
        let hash = &caller.operator.email_hash;
        self.counted_operator(hash, client, async {
            let transaction = self.registry.begin().await?;
            match self.confirm_in(&transaction, caller, code).await {
                Ok(codes) => {
                    let act = Act::on("operator.mfa_confirmed", OPERATOR, caller.operator.id);
                    self.conclude(transaction, origin, act).await?;
                    Ok(codes)
                }
                Err(error) => {
                    roll_back(transaction).await?;
                    Err(error)
                }
            }
        })
        .await
    }

    async fn confirm_in(
        &self,
        transaction: &RegistryTransaction,
        caller: &OperatorCaller,
        code: &SecretString,
    ) -> Result<Vec<String>, AuthenticationError> {
        let operator = self.hold_operator(transaction, &caller.operator).await?;
        if operator.has_second_factor() || operator.sealed_totp_secret.is_none() {
            return Err(AuthenticationError::NoSecondFactor);
        }
        if !self.use_totp_code(transaction, &operator, code).await? {
            return Err(AuthenticationError::InvalidCredentials);
        }
        let codes = recovery_codes(self.registry.sealer())?;
        let hashes = codes.iter().map(|code| recovery_hash(code)).collect();
        second_factor::confirm(transaction, operator.id, hashes, self.clock.now()).await?;
        sessions::end_all(transaction, operator.id, Some(caller.claims.sid), self.clock.now())
            .await?;
        Ok(codes)
    }

    /// From now on the password is enough. Who asks for it has to show both.
    pub async fn disable_operator_mfa(
        &self,
        caller: &OperatorCaller,
        password: SecretString,
        factor: &SecondFactor,
        client: &Client,
        origin: &Origin,
    ) -> Result<(), AuthenticationError> {
        let hash = &caller.operator.email_hash;
        self.counted_operator(hash, client, async {
            let proven = self.prove_password(Some(caller.operator.clone()), password).await?;
            let transaction = self.registry.begin().await?;
            let disabled = async {
                let operator = self.hold_operator(&transaction, &proven).await?;
                if !operator.has_second_factor() {
                    return Err(AuthenticationError::NoSecondFactor);
                }
                self.prove_second_factor(&transaction, &operator, Some(factor)).await?;
                second_factor::disable(&transaction, operator.id, self.clock.now()).await?;
                sessions::end_all(
                    &transaction,
                    operator.id,
                    Some(caller.claims.sid),
                    self.clock.now(),
                )
                .await?;
                Ok(())
            };
            if let Err(error) = disabled.await {
                roll_back(transaction).await?;
                return Err(error);
            }
            let act = Act::on("operator.mfa_disabled", OPERATOR, proven.id);
            self.conclude(transaction, origin, act).await
        })
        .await
    }
}
