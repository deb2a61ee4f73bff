//! Operators of the installation: signing in, what they do to their own account, and who is one. They live in the registry,
//! and have keys and tokens of their own: nothing of a tenant's staff is good here, and the other way round.

mod account;
mod login;
mod second_factor;
mod staffing;
mod step_up;
mod tokens;

pub use login::{OperatorCredentials, OperatorSession};
pub use staffing::NewOperator;
pub(super) use tokens::OperatorTokens;

use super::{Authentication, AuthenticationError, Client, TokenError};
use crate::audit::{Act, Actor, ActorKind, Origin};
use crate::registry::people::audit_log;
use crate::registry::people::operators::{Operator, sessions};
use crate::registry::{RegistryError, RegistryTransaction};
use crate::sealing::SealingError;
pub use tokens::OperatorClaims;

/// Of the path of a request, so many characters are written down.
const LONGEST_PATH: usize = 200;

impl From<SealingError> for AuthenticationError {
    fn from(error: SealingError) -> Self {
        RegistryError::from(error).into()
    }
}

/// An operator whose token is good.
pub struct OperatorCaller {
    /// What the token says.
    pub claims: OperatorClaims,
    /// As they are now.
    pub operator: Operator,
}

/// An operator as the doer of something.
pub fn origin_of(operator: &Operator, client: &Client) -> Origin {
    let (kind, name) = (ActorKind::Operator, operator.name.clone());
    Origin::of(Actor { kind, id: Some(operator.id), name }, Some(client))
}

impl Authentication {
    /// What a token says, if its signature and its age are good.
    pub async fn verify_operator(
        &self,
        token: &str,
    ) -> Result<OperatorClaims, AuthenticationError> {
        Ok(self.operator_tokens.verify(token).await?)
    }

    /// Who a token speaks for, if its session lives, and they may still sign in.
    pub async fn authenticate_operator(
        &self,
        claims: OperatorClaims,
    ) -> Result<OperatorCaller, AuthenticationError> {
        let db = self.registry.connect().await?;
        let operator = sessions::operator_in(&db, claims.sid, claims.sub, self.clock.now()).await?;
        let operator = operator.ok_or(TokenError::Revoked)?;
        Ok(OperatorCaller { claims, operator })
    }

    /// Can an operator without a second factor do nothing but set one up?
    pub fn requires_operator_mfa(&self) -> bool {
        self.settings.operator_mfa_required
    }

    /// Writes down that an operator has called, whatever comes of it. `route`: method and path as in the table of routes.
    pub async fn note_request(
        &self,
        origin: &Origin,
        route: &str,
        path: &str,
    ) -> Result<(), RegistryError> {
        let path: String = path.chars().take(LONGEST_PATH).collect();
        let act = Act::on("request", "route", route).with(serde_json::json!({"path": path}));
        let (hasher, now) = (self.registry.hasher(), self.clock.now());
        let transaction = self.registry.begin().await?;
        audit_log::conclude(transaction, hasher, origin, act, now).await
    }

    /// An operator's address.
    pub fn email_of(&self, operator: &Operator) -> Result<String, AuthenticationError> {
        Ok(operator.email(self.registry.sealer())?)
    }

    /// Writes down what was done, and ends the transaction in which it was.
    pub(super) async fn conclude(
        &self,
        transaction: RegistryTransaction,
        origin: &Origin,
        act: Act,
    ) -> Result<(), AuthenticationError> {
        let (hasher, now) = (self.registry.hasher(), self.clock.now());
        Ok(audit_log::conclude(transaction, hasher, origin, act, now).await?)
    }
}
