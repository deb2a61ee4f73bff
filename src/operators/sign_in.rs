//! Sign-in of operators. An unknown address, a wrong password, a wrong code and an operator who may
//! not sign in take the same path and get the response after the same time, as in the sign-in of
//! staff. Failures are counted in the same way.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::time::Instant;

use super::credentials::OperatorCredentialChecker;
use super::request_log::origin_of;
use crate::access::{Authenticator, Client};
use crate::accounts::{CredentialError, FAILURE_TIME, SecondFactor, wait_for_failure};
use crate::audit::AuditEvent;
use crate::clock::Clock;
use crate::identifiers::{EmailAddress, new_id};
use crate::passwords::Passwords;
use crate::registry::people::audit_log;
use crate::registry::people::operators::{self, OPERATOR, Operator, Status, sessions};
use crate::registry::{Registry, RegistryTransaction};

/// The credentials of a sign-in.
pub struct OperatorCredentials {
    /// The email address. `None` if the text is not an address; such a text has no account.
    pub email: Option<EmailAddress>,
    /// The password in plain text.
    pub password: SecretString,
    /// The second factor, for operators who have one.
    pub second_factor: Option<SecondFactor>,
}

/// An operator who has signed in.
pub struct OperatorSession {
    /// The operator's row.
    pub operator: Operator,
    /// Access token of the new session.
    pub access_token: String,
    /// Seconds until the token expires.
    pub expires_in: i64,
}

/// Signs in operators.
#[derive(Clone)]
pub struct OperatorSignIn {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) hasher: Arc<Passwords>,
    pub(super) credentials: OperatorCredentialChecker,
    pub(super) clock: Clock,
}

impl OperatorSignIn {
    /// Signs an operator in.
    pub async fn login(
        &self,
        credentials: OperatorCredentials,
        client: &Client,
    ) -> Result<OperatorSession, CredentialError> {
        let earliest_failure = Instant::now() + FAILURE_TIME;
        let hash = credentials.email.as_ref().map(|email| self.registry.hasher().email(email));
        let proof = self.check(hash.clone(), credentials, client);
        let result = match hash {
            // A text that is not an address has no account to protect from guesses.
            None => proof.await,
            Some(hash) => self.credentials.counted(&hash, client, proof).await,
        };
        wait_for_failure(&result, earliest_failure).await;
        result
    }

    async fn check(
        &self,
        email_hash: Option<Vec<u8>>,
        credentials: OperatorCredentials,
        client: &Client,
    ) -> Result<OperatorSession, CredentialError> {
        let db = self.registry.connect().await?;
        // A text that is not an address takes the path of an unknown address.
        let found = operators::find_by_email(&db, email_hash.unwrap_or_default()).await?;
        drop(db);
        let found = found.filter(|operator| operator.status == Status::Active);
        let proven = self.credentials.prove_password(found, credentials.password.clone()).await?;
        self.rehash(&proven, credentials.password).await;

        let factor = credentials.second_factor.as_ref();
        let opened = async |transaction: &RegistryTransaction| {
            let session = self.open_session(transaction, &proven, factor, client).await?;
            let second_factor = match (session.operator.has_second_factor(), factor) {
                (false, _) => "none",
                (true, Some(SecondFactor::RecoveryCode(_))) => "recovery_code",
                (true, _) => "totp",
            };
            let event = AuditEvent::on("operator.signed_in", OPERATOR, session.operator.id)
                .with(serde_json::json!({"second_factor": second_factor}));
            Ok::<_, CredentialError>((session, event))
        };
        let (origin, now) = (origin_of(&proven, client), self.clock.now());
        let opened = audit_log::change(&self.registry, &origin, now, opened).await;
        // Recorded, because a right password with a wrong code may mean that the password was
        // stolen.
        if factor.is_some() && matches!(opened, Err(CredentialError::InvalidCredentials)) {
            let event = AuditEvent::on("operator.code_refused", OPERATOR, proven.id);
            audit_log::record_alone(&self.registry, &origin, event, now).await?;
        }
        opened
    }

    /// Hashes the password again if the cost settings have changed.
    async fn rehash(&self, operator: &Operator, password: SecretString) {
        if !self.hasher.is_outdated(&operator.password_hash) {
            return;
        }
        let Ok(hash) = self.hasher.hash(password).await else { return };
        if let Ok(db) = self.registry.connect().await
            && let Err(error) = operators::rehash(&db, operator, hash).await
        {
            tracing::warn!(%error, "an operator's password could not be hashed anew");
        }
    }

    async fn open_session(
        &self,
        transaction: &RegistryTransaction,
        proven: &Operator,
        factor: Option<&SecondFactor>,
        client: &Client,
    ) -> Result<OperatorSession, CredentialError> {
        let now = self.clock.now();
        // An operator who was suspended, or whose password changed, since the password was verified
        // gets no session.
        let mut operator = self.credentials.lock(transaction, proven).await?;
        if operator.has_second_factor() {
            self.credentials.prove_second_factor(transaction, &operator, factor).await?;
        }
        let session = sessions::NewSession {
            id: new_id(),
            operator: operator.id,
            ip: Some(client.ip),
            user_agent: client.user_agent.clone(),
            expires_at: now + self.access.operator_tokens().life(),
        };
        let access_token = self.access.operator_tokens().issue(&operator, session.id)?;
        sessions::open(transaction, session, now).await?;
        operators::record_login(transaction, operator.id, now).await?;
        operator.last_login_at = Some(now);
        let expires_in = self.access.operator_tokens().life().num_seconds();
        Ok(OperatorSession { operator, access_token, expires_in })
    }
}
