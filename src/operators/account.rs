//! What operators do with their own account: sign out and change the password. Second factors are
//! in `mfa.rs`, step-ups in `step_up.rs`.

use std::sync::Arc;

use super::credentials::OperatorCredentialChecker;
use crate::access::{Client, OperatorCaller};
use crate::accounts::{CredentialError, PasswordChange};
use crate::audit::{AuditEvent, Origin};
use crate::clock::Clock;
use crate::passwords::Passwords;
use crate::registry::people::audit_log;
use crate::registry::people::operators::{self, OPERATOR, sessions};
use crate::registry::{Registry, RegistryError, RegistryTransaction};

/// Signs operators out and changes their passwords.
#[derive(Clone)]
pub struct OperatorAccount {
    pub(super) registry: Registry,
    pub(super) hasher: Arc<Passwords>,
    pub(super) credentials: OperatorCredentialChecker,
    pub(super) clock: Clock,
}

impl OperatorAccount {
    /// Ends the caller's session.
    pub async fn sign_out(
        &self,
        caller: &OperatorCaller,
        origin: &Origin,
    ) -> Result<(), RegistryError> {
        let now = self.clock.now();
        let ended = async |transaction: &RegistryTransaction| {
            sessions::end(transaction, caller.claims.sid, now).await?;
            let event = AuditEvent::on("operator.signed_out", OPERATOR, caller.operator.id);
            Ok::<_, RegistryError>(((), event))
        };
        // Ending a session needs no permission, so the warrant is not checked again.
        audit_log::change(&self.registry, &origin.judged(), now, ended).await
    }

    /// Sets a new password for an operator who knows the old one. The operator's other sessions
    /// end.
    pub async fn change_password(
        &self,
        caller: &OperatorCaller,
        PasswordChange { current, new }: PasswordChange,
        client: &Client,
        origin: &Origin,
    ) -> Result<(), CredentialError> {
        let proof = self.credentials.prove_password(Some(caller.operator.clone()), current);
        let hash = &caller.operator.email_hash;
        let proven = self.credentials.counted(hash, client, proof).await?;
        let password_hash = self.hasher.hash_new(new, Vec::new()).await?;
        let now = self.clock.now();
        let changed = async |transaction: &RegistryTransaction| {
            self.credentials.lock(transaction, &proven).await?;
            let but = Some(caller.claims.sid);
            operators::set_password(transaction, proven.id, password_hash, but, now).await?;
            let event = AuditEvent::on("operator.password_changed", OPERATOR, proven.id);
            Ok::<_, CredentialError>(((), event))
        };
        audit_log::change(&self.registry, origin, now, changed).await
    }
}
