//! Access tokens of operators: as those of a tenant's staff, with keys and an audience of their own.

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

/// What a token says. Times are seconds since 1970 (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorClaims {
    /// Who made it.
    pub iss: String,
    /// For whom it is meant.
    pub aud: String,
    /// Which operator.
    pub sub: Uuid,
    /// In which session.
    pub sid: Uuid,
    /// In which role when it was made. What counts is the role of today.
    pub role: Role,
    /// When it was made.
    pub iat: i64,
    /// When its time is over.
    pub exp: i64,
    /// Its own id.
    pub jti: Uuid,
}

/// Makes and verifies them. Nothing is remembered: operators are few.
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

    /// How long a session and its token are good for.
    pub fn life(&self) -> TimeDelta {
        self.life
    }

    /// Makes a new key: see [`SigningKeys::rotate`].
    pub async fn rotate_keys(&self, at_once: bool) -> Result<String, RegistryError> {
        self.keys.rotate(self.life, at_once).await
    }

    /// A new token.
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

    /// What a token says, if it is one of ours and its time is not over. Whether its session lives is judged elsewhere.
    pub async fn verify(&self, token: &str) -> Result<OperatorClaims, TokenError> {
        let (claims, _) = self.keys.verify::<OperatorClaims>(token, &self.validation).await?;
        if claims.exp <= self.clock.now().timestamp() {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}
