//! Step-up of operators: creating and changing operators needs password and second factor again.
//! See `access/step_up.rs`.

use secrecy::SecretString;

use super::account::OperatorAccount;
use crate::access::{Client, OperatorCaller, PROOF_LIFE};
use crate::accounts::{CredentialError, SecondFactor};
use crate::audit::{AuditEvent, Origin};
use crate::registry::RegistryTransaction;
use crate::registry::people::operators::OPERATOR;
use crate::registry::people::{audit_log, step_ups};

impl OperatorAccount {
    /// Verifies password and second factor of a signed-in operator. Failures count as failed
    /// sign-ins. The audit log gets an entry for a success and for wrong credentials.
    pub async fn step_up(
        &self,
        caller: &OperatorCaller,
        shown: (SecretString, Option<SecondFactor>),
        client: &Client,
        origin: &Origin,
    ) -> Result<(), CredentialError> {
        let proof = self.prove(caller, shown, origin);
        let proven = self.credentials.counted(&caller.operator.email_hash, client, proof).await;
        if let Err(CredentialError::InvalidCredentials) = proven {
            let event = AuditEvent::on("operator.step_up_refused", OPERATOR, caller.operator.id);
            audit_log::record_alone(&self.registry, origin, event, self.clock.now()).await?;
        }
        proven
    }

    async fn prove(
        &self,
        caller: &OperatorCaller,
        (password, factor): (SecretString, Option<SecondFactor>),
        origin: &Origin,
    ) -> Result<(), CredentialError> {
        let known = Some(caller.operator.clone());
        let proven = self.credentials.prove_password(known, password).await?;
        let now = self.clock.now();
        let recorded = async |transaction: &RegistryTransaction| {
            let operator = self.credentials.lock(transaction, &proven).await?;
            if operator.has_second_factor() {
                let shown = factor.as_ref();
                self.credentials.prove_second_factor(transaction, &operator, shown).await?;
            }
            let session = (caller.claims.sid, operator.id);
            step_ups::record(transaction, session, now, now + PROOF_LIFE).await?;
            let event = AuditEvent::on("operator.stepped_up", OPERATOR, operator.id);
            Ok::<_, CredentialError>(((), event))
        };
        audit_log::change(&self.registry, origin, now, recorded).await
    }
}
