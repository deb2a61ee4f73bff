//! Who is an operator: made and changed by an admin, and by command, with which it begins.

use secrecy::SecretString;
use uuid::Uuid;

use super::Act;
use crate::audit::Origin;
use crate::authentication::{Authentication, AuthenticationError};
use crate::identifiers::{EmailAddress, new_id};
use crate::registry::people::operators::{
    self, EmailTaken, NotChanged, OPERATOR, Operator, OperatorChange, Role, second_factor,
};
use crate::registry::{RegistryError, roll_back};

/// An operator that somebody wants, with the password in clear.
pub struct NewOperator {
    /// Nobody else's.
    pub email: EmailAddress,
    /// For people.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// With which they sign in.
    pub password: SecretString,
}

impl Authentication {
    /// Makes an operator.
    pub async fn create_operator(
        &self,
        new: NewOperator,
        origin: &Origin,
    ) -> Result<Result<Operator, EmailTaken>, AuthenticationError> {
        let NewOperator { email, name, role, password } = new;
        let about = vec![email.as_str().to_owned(), name.clone()];
        let password_hash = self.passwords.hash_new(password, about).await?;
        let row = operators::NewOperator { id: new_id(), email, name, password_hash, role };
        let secrets = (self.registry.sealer(), self.registry.hasher());
        let transaction = self.registry.begin().await?;
        if let Err(refused) = self.require_step_up(&transaction, origin).await {
            roll_back(transaction).await?;
            return Err(refused);
        }
        let created = operators::create(&transaction, secrets, row, self.clock.now()).await?;
        let Ok(operator) = created else {
            roll_back(transaction).await?;
            return Ok(created);
        };
        let act = Act::on("operator.created", OPERATOR, operator.id)
            .with(serde_json::json!({"name": operator.name, "role": operator.role}));
        self.conclude(transaction, origin, act).await?;
        Ok(Ok(operator))
    }

    /// An operator, by their address.
    pub async fn find_operator(
        &self,
        email: &EmailAddress,
    ) -> Result<Option<Operator>, RegistryError> {
        let db = self.registry.connect().await?;
        operators::find_by_email(&db, self.registry.hasher().email(email)).await
    }

    /// Changes an operator. It counts with their next request.
    pub async fn change_operator(
        &self,
        id: Uuid,
        change: OperatorChange,
        origin: &Origin,
    ) -> Result<Result<Operator, NotChanged>, AuthenticationError> {
        let transaction = self.registry.begin().await?;
        let detail = serde_json::json!({
            "name": change.name, "role": change.role, "status": change.status,
        });
        let (warrant, now) = (origin.warrant.as_ref(), self.clock.now());
        let needs_proof = change.role.is_some() || change.status.is_some();
        let changed = async {
            if needs_proof {
                self.require_step_up(&transaction, origin).await?;
            }
            Ok(operators::change(&transaction, id, change, warrant, now).await?)
        };
        let changed: Result<_, AuthenticationError> = changed.await;
        if matches!(changed, Ok(Ok((_, true)))) {
            let act = Act::on("operator.changed", OPERATOR, id).with(detail);
            self.conclude(transaction, &origin.judged(), act).await?;
        } else {
            roll_back(transaction).await?;
        }
        changed.map(|changed| changed.map(|(operator, _)| operator))
    }

    /// Gives an operator who cannot sign in any more a new password: their second factor is off, their sessions end.
    pub async fn reset_operator(
        &self,
        id: Uuid,
        password: SecretString,
        origin: &Origin,
    ) -> Result<(), AuthenticationError> {
        let password_hash = self.passwords.hash(password).await?;
        let (now, transaction) = (self.clock.now(), self.registry.begin().await?);
        operators::set_password(&transaction, id, password_hash, None, now).await?;
        second_factor::disable(&transaction, id, now).await?;
        self.conclude(transaction, origin, Act::on("operator.reset", OPERATOR, id)).await
    }
}
