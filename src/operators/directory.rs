//! The operators: created and changed by an admin, or by command. The first operator is created by
//! command.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use crate::access::{AccessError, from_access_causes};
use crate::accounts::CredentialError;
use crate::audit::{AuditEvent, Origin};
use crate::clock::Clock;
use crate::identifiers::{EmailAddress, new_id};
use crate::passwords::{PasswordError, Passwords};
use crate::registry::people::operators::{
    self, EmailTaken, NotChanged, OPERATOR, Operator, OperatorChange, Role, second_factor,
};
use crate::registry::people::{audit_log, step_ups};
use crate::registry::{Registry, RegistryError, RegistryTransaction};

/// Reason why an operator is not created or not changed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another operator already has this address.
    #[error(transparent)]
    EmailTaken(#[from] EmailTaken),
    /// There is no such operator, or the change would leave no admin.
    #[error(transparent)]
    NotChanged(#[from] NotChanged),
    /// Too many passwords are being hashed, or the new one is refused.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The caller is refused, or the registry cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(DirectoryError);

/// A new operator, with the password in plain text.
pub struct NewOperator {
    /// Email address, unique among operators.
    pub email: EmailAddress,
    /// Name for display.
    pub name: String,
    /// The operator's role, which decides what the operator may do.
    pub role: Role,
    /// Initial password.
    pub password: SecretString,
}

/// Finds, creates and changes operators.
#[derive(Clone)]
pub struct OperatorDirectory {
    pub(super) registry: Registry,
    pub(super) hasher: Arc<Passwords>,
    pub(super) clock: Clock,
}

impl OperatorDirectory {
    /// Creates an operator.
    pub async fn create(
        &self,
        new: NewOperator,
        origin: &Origin,
    ) -> Result<Operator, DirectoryError> {
        let NewOperator { email, name, role, password } = new;
        let about = vec![email.as_str().to_owned(), name.clone()];
        let password_hash = self.hasher.hash_new(password, about).await?;
        let row = operators::NewOperator { id: new_id(), email, name, password_hash, role };
        let secrets = (self.registry.sealer(), self.registry.hasher());
        let now = self.clock.now();
        let created = async |transaction: &RegistryTransaction| {
            self.require_step_up(transaction, origin).await?;
            let operator = operators::create(transaction, secrets, row, now).await??;
            let event = AuditEvent::on("operator.created", OPERATOR, operator.id)
                .with(json!({"name": operator.name, "role": operator.role}));
            Ok::<_, DirectoryError>((operator, event))
        };
        audit_log::change(&self.registry, origin, now, created).await
    }

    /// Finds an operator by address.
    pub async fn find(&self, email: &EmailAddress) -> Result<Option<Operator>, RegistryError> {
        let db = self.registry.connect().await?;
        operators::find_by_email(&db, self.registry.hasher().email(email)).await
    }

    /// Decrypts an operator's address.
    pub fn email_of(&self, operator: &Operator) -> Result<String, RegistryError> {
        Ok(operator.email(self.registry.sealer())?)
    }

    /// Changes an operator. The change applies from the operator's next request on.
    pub async fn change(
        &self,
        id: Uuid,
        change: OperatorChange,
        origin: &Origin,
    ) -> Result<Operator, DirectoryError> {
        let detail = json!({"name": change.name, "role": change.role, "status": change.status});
        let (warrant, now) = (origin.warrant.as_ref(), self.clock.now());
        let needs_proof = change.role.is_some() || change.status.is_some();
        let changed = async |transaction: &RegistryTransaction| {
            if needs_proof {
                self.require_step_up(transaction, origin).await?;
            }
            let changed = operators::change(transaction, id, change, warrant, now).await?;
            let (operator, is_changed) = changed?;
            let event = AuditEvent::on("operator.changed", OPERATOR, id).with(detail);
            Ok::<_, DirectoryError>((operator, is_changed.then_some(event)))
        };
        audit_log::change(&self.registry, &origin.judged(), now, changed).await
    }

    /// Sets a new password for an operator who cannot sign in any more. Removes the second factor
    /// and ends all sessions.
    pub async fn reset(
        &self,
        id: Uuid,
        password: SecretString,
        origin: &Origin,
    ) -> Result<(), CredentialError> {
        let password_hash = self.hasher.hash(password).await?;
        let now = self.clock.now();
        let reset = async |transaction: &RegistryTransaction| {
            operators::set_password(transaction, id, password_hash, None, now).await?;
            second_factor::disable(transaction, id, now).await?;
            Ok::<_, CredentialError>(((), AuditEvent::on("operator.reset", OPERATOR, id)))
        };
        audit_log::change(&self.registry, origin, now, reset).await
    }

    /// Fails if an operator who calls through the API has no fresh step-up. A command needs none.
    async fn require_step_up(
        &self,
        transaction: &RegistryTransaction,
        origin: &Origin,
    ) -> Result<(), AccessError> {
        let Some(warrant) = &origin.warrant else { return Ok(()) };
        match step_ups::is_fresh(transaction, warrant.session, self.clock.now()).await? {
            true => Ok(()),
            false => Err(AccessError::StepUpRequired),
        }
    }
}
