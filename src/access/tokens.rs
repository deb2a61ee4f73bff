//! Access tokens: JWTs signed with Ed25519. A verified token is cached by its digest until it
//! expires, because checking a signature costs more than the query that follows it.

use std::sync::Arc;

use chrono::TimeDelta;
use foldhash::fast::RandomState;
use jsonwebtoken::Validation;
use moka::future::Cache;
use ring::digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::TokenError;
use super::signing_keys::{self, MAX_TOKEN_BYTES, PublicJwk, SigningKeys};
use crate::clock::Clock;
use crate::configuration::AuthSettings;
use crate::identifiers::{TenantId, new_id};
use crate::registry::RegistryError;

/// `aud` of the tokens of a tenant's staff.
pub(super) const AUDIENCE: &str = "narthex:tenant";
const REMEMBERED_TOKENS: u64 = 50_000;
/// Life of a step-up: see `step_up.rs`.
pub const PROOF_LIFE: TimeDelta = TimeDelta::minutes(5);
/// Maximum life of an impersonation session and of its token.
pub const MAX_IMPERSONATION: TimeDelta = TimeDelta::minutes(60);

/// Claims of an access token. Times are seconds since 1970 (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: `auth.issuer` of the installation, or the identity provider.
    pub iss: String,
    /// Audience: `narthex:tenant`.
    pub aud: String,
    /// The id of the member of staff, or of the operator in an impersonation session.
    pub sub: Uuid,
    /// The tenant's id.
    pub tid: TenantId,
    /// The id of the session, or of the impersonation session.
    pub sid: Uuid,
    /// The role's name when the token was made.
    pub role: String,
    /// Time of issue.
    pub iat: i64,
    /// Time of expiry.
    pub exp: i64,
    /// The id of the token.
    pub jti: Uuid,
    /// Only in the token of an impersonation session: the id of the operator's own session, with
    /// which it ends. `sid` is then the impersonation session and `sub` the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imp: Option<Uuid>,
    /// Only for a session of an identity provider: the time until which the user's last
    /// verification counts as a step-up, in seconds since 1970. Always `None` in a token that
    /// Narthex issued.
    #[serde(skip)]
    pub proven_until: Option<i64>,
}

/// The subject of a new token.
pub struct Subject {
    /// The tenant's id.
    pub tenant: TenantId,
    /// The id of the member of staff.
    pub staff: Uuid,
    /// The id of the session.
    pub session: Uuid,
    /// The role's name.
    pub role: String,
}

/// A verified token and the id of the key that signed it.
#[derive(Clone)]
struct VerifiedToken {
    claims: Arc<Claims>,
    kid: Arc<str>,
}

/// Issues and verifies access tokens.
pub struct Tokens {
    keys: SigningKeys,
    issuer: String,
    life: TimeDelta,
    validation: Validation,
    remembered: Cache<[u8; 32], VerifiedToken, RandomState>,
    clock: Clock,
}

impl Tokens {
    pub(super) fn new(keys: SigningKeys, settings: &AuthSettings, clock: Clock) -> Self {
        // The expiry is checked with `clock`, for cached tokens too.
        let validation = signing_keys::validation(&settings.issuer, AUDIENCE);
        let remembered = Cache::builder()
            .max_capacity(REMEMBERED_TOKENS)
            .time_to_live(settings.access_token_ttl)
            .build_with_hasher(RandomState::default());
        Self {
            keys,
            issuer: settings.issuer.clone(),
            life: TimeDelta::from_std(settings.access_token_ttl).unwrap_or(TimeDelta::minutes(15)),
            validation,
            remembered,
            clock,
        }
    }

    /// Life of a new token.
    pub fn life(&self) -> TimeDelta {
        self.life
    }

    /// Creates a new signing key: see [`SigningKeys::rotate`].
    pub async fn rotate_keys(&self, at_once: bool) -> Result<String, RegistryError> {
        self.keys.rotate(self.life.max(MAX_IMPERSONATION), at_once).await
    }

    /// The public keys, with which other services can verify the tokens.
    pub fn public_keys(&self) -> Vec<PublicJwk> {
        self.keys.ring().public()
    }

    /// Issues a token for a member of staff.
    pub fn issue(&self, subject: Subject) -> Result<String, TokenError> {
        self.issue_for(subject, self.life, None)
    }

    /// Issues a token with this life. `impersonation`: the id of the operator's own session, if the
    /// token is for an impersonation session.
    pub fn issue_for(
        &self,
        subject: Subject,
        life: TimeDelta,
        impersonation: Option<Uuid>,
    ) -> Result<String, TokenError> {
        let now = self.clock.now();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: subject.staff,
            tid: subject.tenant,
            sid: subject.session,
            role: subject.role,
            iat: now.timestamp(),
            exp: (now + life).timestamp(),
            jti: new_id(),
            imp: impersonation,
            proven_until: None,
        };
        self.keys.sign(&claims)
    }

    /// Claims of a token, if its signature is good and it has not expired. Does not check
    /// revocations.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let VerifiedToken { claims, kid } = match self.remembered.get(&key).await {
            Some(verified) => verified,
            None => {
                let verified = self.decode(token).await?;
                if verified.claims.exp > self.clock.now().timestamp() {
                    self.remembered.insert(key, verified.clone()).await;
                }
                verified
            }
        };
        if claims.exp <= self.clock.now_us() / 1_000_000 {
            return Err(TokenError::Expired);
        }
        self.unless_given_up(&kid)?;
        Ok(claims)
    }

    /// As [`Tokens::verify`], but accepts an expired token. Use it only to find the session that is
    /// to end.
    pub(super) async fn verify_at_any_age(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let VerifiedToken { claims, kid } = self.decode(token).await?;
        self.unless_given_up(&kid)?;
        Ok(claims)
    }

    /// Refuses tokens of a key that is no longer valid, including cached ones.
    fn unless_given_up(&self, kid: &str) -> Result<(), TokenError> {
        self.keys.ring().find(kid, || self.clock.now()).map(drop).ok_or(TokenError::Invalid)
    }

    async fn decode(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        let (claims, kid) = self.keys.verify(token, &self.validation).await?;
        Ok(VerifiedToken { claims: Arc::new(claims), kid: kid.into() })
    }
}
