//! Access tokens of operators. They work as the tokens of staff do, with their own keys and their
//! own audience.

use chrono::TimeDelta;
use jsonwebtoken::Validation;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::TokenError;
use super::signing_keys::{self, SigningKeys};
use crate::clock::Clock;
use crate::configuration::AuthSettings;
use crate::identifiers::new_id;
use crate::registry::RegistryError;
use crate::registry::people::operators::{Operator, Role};

/// `aud` of the tokens of operators.
const AUDIENCE: &str = "narthex:operator";

/// Claims of an operator's token. Times are seconds since 1970 (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorClaims {
    /// Issuer: `auth.issuer` of the installation.
    pub iss: String,
    /// Audience: `narthex:operator`.
    pub aud: String,
    /// The operator's id.
    pub sub: Uuid,
    /// The id of the operator's session.
    pub sid: Uuid,
    /// The operator's role when the token was made. Authorization uses the current role.
    pub role: Role,
    /// Time of issue.
    pub iat: i64,
    /// Time of expiry.
    pub exp: i64,
    /// The id of the token.
    pub jti: Uuid,
}

/// Issues and verifies operators' tokens. Verified tokens are not cached, because operators are
/// few.
pub struct OperatorTokens {
    keys: SigningKeys,
    issuer: String,
    life: TimeDelta,
    validation: Validation,
    clock: Clock,
}

impl OperatorTokens {
    pub fn new(keys: SigningKeys, settings: &AuthSettings, clock: Clock) -> Self {
        let life = TimeDelta::from_std(settings.operator_session_ttl);
        Self {
            keys,
            issuer: settings.issuer.clone(),
            life: life.unwrap_or(TimeDelta::hours(8)),
            validation: signing_keys::validation(&settings.issuer, AUDIENCE),
            clock,
        }
    }

    /// Life of a session and of its token.
    pub fn life(&self) -> TimeDelta {
        self.life
    }

    /// Creates a new signing key: see [`SigningKeys::rotate`].
    pub async fn rotate_keys(&self, at_once: bool) -> Result<String, RegistryError> {
        self.keys.rotate(self.life, at_once).await
    }

    /// Issues a token for a session of `operator`.
    pub fn issue(&self, operator: &Operator, session: Uuid) -> Result<String, TokenError> {
        let now = self.clock.now();
        self.keys.sign(&OperatorClaims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: operator.id,
            sid: session,
            role: operator.role,
            iat: now.timestamp(),
            exp: (now + self.life).timestamp(),
            jti: new_id(),
        })
    }

    /// Claims of a token, if its signature is good and it has not expired. The session is not
    /// checked.
    pub async fn verify(&self, token: &str) -> Result<OperatorClaims, TokenError> {
        let (claims, _) = self.keys.verify::<OperatorClaims>(token, &self.validation).await?;
        if claims.exp <= self.clock.now().timestamp() {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}
