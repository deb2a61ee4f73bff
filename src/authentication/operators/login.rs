//! Signing in. An unknown address, a wrong password, a wrong code and an operator who may not sign in take the same path and
//! are answered after the same time, as at the door of the tenants; and who guesses is counted in the same way.

use std::future::Future;

use secrecy::SecretString;
use tokio::time::Instant;

use super::{Act, origin_of};
use crate::authentication::login::{FAILURE_TIME, wait_for_failure};
use crate::authentication::{Authentication, AuthenticationError, Client, SecondFactor};
use crate::identifiers::{EmailAddress, new_id};
use crate::limits::network_of;
use crate::registry::people::operators::{self, OPERATOR, Operator, Status, sessions};
use crate::registry::{RegistryTransaction, roll_back};

/// Goes before the hash of an address: guesses at a member of staff with the same address are another account's.
const ACCOUNT: &[u8] = b"operator:";

/// What an operator signs in with.
pub struct OperatorCredentials {
    /// The address; a text that is no address has no account.
    pub email: Option<EmailAddress>,
    /// The password.
    pub password: SecretString,
    /// Where they have one.
    pub second_factor: Option<SecondFactor>,
}

/// An operator who has signed in.
pub struct OperatorSession {
    /// Who.
    pub operator: Operator,
    /// What they call with from now on.
    pub access_token: String,
    /// Seconds.
    pub expires_in: i64,
}

impl Authentication {
    /// Signs an operator in.
    pub async fn sign_in_operator(
        &self,
        credentials: OperatorCredentials,
        client: &Client,
    ) -> Result<OperatorSession, AuthenticationError> {
        let earliest_failure = Instant::now() + FAILURE_TIME;
        let hash = credentials.email.as_ref().map(|email| self.registry.hasher().email(email));
        let proof = self.check_operator(hash.clone(), credentials, client);
        let result = match hash {
            // A text that is no address has no account that could be guessed at.
            None => proof.await,
            Some(hash) => self.counted_operator(&hash, client, proof).await,
        };
        wait_for_failure(&result, earliest_failure).await;
        result
    }

    /// Something that proves which operator somebody is, and is counted where it fails.
    pub(super) async fn counted_operator<T>(
        &self,
        email_hash: &[u8],
        client: &Client,
        proof: impl Future<Output = Result<T, AuthenticationError>>,
    ) -> Result<T, AuthenticationError> {
        let network = network_of(client.ip);
        let is_at_home = async {
            let Ok(db) = self.registry.connect().await else { return false };
            let found = operators::find_by_email(&db, email_hash.to_vec()).await;
            let Ok(Some(operator)) = found else { return false };
            let ips = sessions::addresses_of(&db, operator.id).await;
            ips.is_ok_and(|ips| ips.into_iter().any(|ip| network_of(ip) == network))
        };
        let account = [ACCOUNT, email_hash].concat();
        self.attempts.counted(account, network, is_at_home, |_| true, proof).await
    }

    /// Fails where the password is not that of the operator. Without one, after the same work.
    pub(super) async fn prove_password(
        &self,
        operator: Option<Operator>,
        password: SecretString,
    ) -> Result<Operator, AuthenticationError> {
        let stored = operator.as_ref().map(|operator| operator.password_hash.clone());
        let is_right = self.passwords.verify(password, stored).await?;
        operator.filter(|_| is_right).ok_or(AuthenticationError::InvalidCredentials)
    }

    async fn check_operator(
        &self,
        email_hash: Option<Vec<u8>>,
        credentials: OperatorCredentials,
        client: &Client,
    ) -> Result<OperatorSession, AuthenticationError> {
        let db = self.registry.connect().await?;
        // A text that is no address takes the way of an address that nobody has.
        let found = operators::find_by_email(&db, email_hash.unwrap_or_default()).await?;
        drop(db);
        let found = found.filter(|operator| operator.status == Status::Active);
        let proven = self.prove_password(found, credentials.password.clone()).await?;
        self.rehash_operator(&proven, credentials.password).await;

        let transaction = self.registry.begin().await?;
        let factor = credentials.second_factor.as_ref();
        let opened = self.open_operator_session(&transaction, &proven, factor, client).await;
        let session = match opened {
            Ok(session) => session,
            Err(error) => {
                roll_back(transaction).await?;
                // The password was right: the one sign that somebody else has it.
                if factor.is_some() && matches!(error, AuthenticationError::InvalidCredentials) {
                    let act = Act::on("operator.code_refused", OPERATOR, proven.id);
                    let transaction = self.registry.begin().await?;
                    self.conclude(transaction, &origin_of(&proven, client), act).await?;
                }
                return Err(error);
            }
        };
        let origin = origin_of(&session.operator, client);
        let second_factor = match (session.operator.has_second_factor(), factor) {
            (false, _) => "none",
            (true, Some(SecondFactor::RecoveryCode(_))) => "recovery_code",
            (true, _) => "totp",
        };
        let act = Act::on("operator.signed_in", OPERATOR, session.operator.id)
            .with(serde_json::json!({"second_factor": second_factor}));
        self.conclude(transaction, &origin, act).await?;
        Ok(session)
    }

    /// Keeps the password as dear to guess as the settings want it today.
    async fn rehash_operator(&self, operator: &Operator, password: SecretString) {
        if !self.passwords.is_outdated(&operator.password_hash) {
            return;
        }
        let Ok(hash) = self.passwords.hash(password).await else { return };
        if let Ok(db) = self.registry.connect().await
            && let Err(error) = operators::rehash(&db, operator, hash).await
        {
            tracing::warn!(%error, "an operator's password could not be hashed anew");
        }
    }

    async fn open_operator_session(
        &self,
        transaction: &RegistryTransaction,
        proven: &Operator,
        factor: Option<&SecondFactor>,
        client: &Client,
    ) -> Result<OperatorSession, AuthenticationError> {
        let now = self.clock.now();
        // Whoever was shut out, or got another password, since the password was proven, gets no session.
        let mut operator = self.hold_operator(transaction, proven).await?;
        if operator.has_second_factor() {
            self.prove_second_factor(transaction, &operator, factor).await?;
        }
        let session = sessions::NewSession {
            id: new_id(),
            operator: operator.id,
            ip: Some(client.ip),
            user_agent: client.user_agent.clone(),
            expires_at: now + self.operator_tokens.life(),
        };
        let access_token = self.operator_tokens.issue(&operator, session.id)?;
        sessions::open(transaction, session, now).await?;
        operators::record_login(transaction, operator.id, now).await?;
        operator.last_login_at = Some(now);
        let expires_in = self.operator_tokens.life().num_seconds();
        Ok(OperatorSession { operator, access_token, expires_in })
    }

    /// The operator as they are now, and stay until the transaction ends. Refused: they have another password than the one that
    /// was proven, or may not sign in any more.
    pub(super) async fn hold_operator(
        &self,
        transaction: &RegistryTransaction,
        proven: &Operator,
    ) -> Result<Operator, AuthenticationError> {
        let held = operators::hold(transaction, proven.id).await?;
        let is_same = |held: &Operator| {
            held.status == Status::Active && held.password_set_at == proven.password_set_at
        };
        held.filter(is_same).ok_or(AuthenticationError::InvalidCredentials)
    }
}
