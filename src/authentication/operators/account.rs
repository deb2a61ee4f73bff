//! What operators do to their own account.

use secrecy::SecretString;

use super::{Act, OperatorCaller};
use crate::audit::Origin;
use crate::authentication::{Authentication, AuthenticationError, Client};
use crate::registry::people::operators::{self, OPERATOR, sessions};
use crate::registry::roll_back;

impl Authentication {
    /// Ends the caller's session.
    pub async fn sign_out_operator(
        &self,
        caller: &OperatorCaller,
        origin: &Origin,
    ) -> Result<(), AuthenticationError> {
        let transaction = self.registry.begin().await?;
        sessions::end(&transaction, caller.claims.sid, self.clock.now()).await?;
        let act = Act::on("operator.signed_out", OPERATOR, caller.operator.id);
        // What ends a session needs none.
        self.conclude(transaction, &origin.judged(), act).await
    }

    /// Sets a new password for an operator who knows the old one. Their other sessions end.
    pub async fn change_operator_password(
        &self,
        caller: &OperatorCaller,
        (current, new): (SecretString, SecretString),
        client: &Client,
        origin: &Origin,
    ) -> Result<(), AuthenticationError> {
        let proof = self.prove_password(Some(caller.operator.clone()), current);
        let hash = &caller.operator.email_hash;
        let proven = self.counted_operator(hash, client, proof).await?;
        let password_hash = self.passwords.hash_new(new, Vec::new()).await?;
        let (now, transaction) = (self.clock.now(), self.registry.begin().await?);
        if let Err(refused) = self.hold_operator(&transaction, &proven).await {
            roll_back(transaction).await?;
            return Err(refused);
        }
        let but = Some(caller.claims.sid);
        operators::set_password(&transaction, proven.id, password_hash, but, now).await?;
        let act = Act::on("operator.password_changed", OPERATOR, proven.id);
        self.conclude(transaction, origin, act).await
    }
}
