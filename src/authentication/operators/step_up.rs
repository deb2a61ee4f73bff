//! What makes operators and changes them asks for password and second factor once more: see `authentication/step_up.rs`.

use secrecy::SecretString;

use super::{Act, OperatorCaller};
use crate::audit::Origin;
use crate::authentication::step_up::COUNTS_FOR;
use crate::authentication::{Authentication, AuthenticationError, Client, SecondFactor};
use crate::registry::people::operators::OPERATOR;
use crate::registry::people::step_ups;
use crate::registry::{RegistryTransaction, roll_back};

impl Authentication {
    /// As [`Authentication::step_up`], of an operator.
    pub async fn step_up_operator(
        &self,
        caller: &OperatorCaller,
        (password, factor): (SecretString, Option<SecondFactor>),
        client: &Client,
        origin: &Origin,
    ) -> Result<(), AuthenticationError> {
        let proof = self.prove_operator(caller, (password, factor), origin);
        let proven = self.counted_operator(&caller.operator.email_hash, client, proof).await;
        if let Err(AuthenticationError::InvalidCredentials) = proven {
            let act = Act::on("operator.step_up_refused", OPERATOR, caller.operator.id);
            self.conclude(self.registry.begin().await?, origin, act).await?;
        }
        proven
    }

    async fn prove_operator(
        &self,
        caller: &OperatorCaller,
        (password, factor): (SecretString, Option<SecondFactor>),
        origin: &Origin,
    ) -> Result<(), AuthenticationError> {
        let proven = self.prove_password(Some(caller.operator.clone()), password).await?;
        let (now, transaction) = (self.clock.now(), self.registry.begin().await?);
        let recorded = async {
            let operator = self.hold_operator(&transaction, &proven).await?;
            if operator.has_second_factor() {
                self.prove_second_factor(&transaction, &operator, factor.as_ref()).await?;
            }
            let session = (caller.claims.sid, operator.id);
            Ok(step_ups::record(&transaction, session, now, now + COUNTS_FOR).await?)
        };
        if let Err(refused) = recorded.await {
            roll_back(transaction).await?;
            return Err(refused);
        }
        let act = Act::on("operator.stepped_up", OPERATOR, caller.operator.id);
        self.conclude(transaction, origin, act).await
    }

    /// Fails where an operator who calls by the API has not proven once more who they are. A command needs no proof.
    pub(super) async fn require_step_up(
        &self,
        transaction: &RegistryTransaction,
        origin: &Origin,
    ) -> Result<(), AuthenticationError> {
        let Some(warrant) = &origin.warrant else { return Ok(()) };
        match step_ups::is_fresh(transaction, warrant.session, self.clock.now()).await? {
            true => Ok(()),
            false => Err(AuthenticationError::StepUpRequired),
        }
    }
}
