//! Access tokens: JWTs signed with Ed25519. A token is verified once; afterwards it is known by its digest until
//! it expires, because one signature costs more than the query behind it.

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
/// A proof of identity counts this long: see `step_up.rs`.
pub const PROOF_LIFE: TimeDelta = TimeDelta::minutes(5);
/// An impersonation session lasts at most this long, and so does its token.
pub const MAX_IMPERSONATION: TimeDelta = TimeDelta::minutes(60);

/// What a token says. Times are seconds since 1970 (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// For whom it is meant.
    pub aud: String,
    /// Which member of staff.
    pub sub: Uuid,
    /// Of which tenant.
    pub tid: TenantId,
    /// In which session.
    pub sid: Uuid,
    /// In which role.
    pub role: String,
    /// When it was made.
    pub iat: i64,
    /// When its time is over.
    pub exp: i64,
    /// Its own id.
    pub jti: Uuid,
    /// That of an operator who acts in the tenant for a while: their session, with which it ends. `sid` is the impersonation
    /// then, `sub` the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imp: Option<Uuid>,
    /// Of a session that an identity provider keeps: until when what they have shown it counts as proven. Never in a token of ours.
    #[serde(skip)]
    pub proven_until: Option<i64>,
}

/// Whom a new token speaks for.
pub struct Subject {
    /// Of which tenant.
    pub tenant: TenantId,
    /// Which member of staff.
    pub staff: Uuid,
    /// In which session.
    pub session: Uuid,
    /// In which role.
    pub role: String,
}

/// A token that was verified, and the key that has signed it.
#[derive(Clone)]
struct VerifiedToken {
    claims: Arc<Claims>,
    kid: Arc<str>,
}

/// Makes and verifies access tokens.
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
        // Age is judged by our own clock, on remembered tokens too.
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

    /// How long a new token is good for.
    pub fn life(&self) -> TimeDelta {
        self.life
    }

    /// Makes a new key for tokens to be signed with: see [`SigningKeys::rotate`].
    pub async fn rotate_keys(&self, at_once: bool) -> Result<String, RegistryError> {
        self.keys.rotate(self.life.max(MAX_IMPERSONATION), at_once).await
    }

    /// The keys by which others can verify our tokens.
    pub fn public_keys(&self) -> Vec<PublicJwk> {
        self.keys.ring().public()
    }

    /// A new token for a member of staff.
    pub fn issue(&self, subject: Subject) -> Result<String, TokenError> {
        self.issue_for(subject, self.life, None)
    }

    /// A new token that is good for so long. `impersonation`: it is that of an operator who acts in the tenant, from this session of theirs.
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

    /// What a token says, if it is one of ours and its time is not over. Revocation is judged elsewhere.
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

    /// As [`Tokens::verify`], of a token whose time may be over: it says which session is to end, and is good for nothing else.
    pub(super) async fn verify_at_any_age(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let VerifiedToken { claims, kid } = self.decode(token).await?;
        self.unless_given_up(&kid)?;
        Ok(claims)
    }

    /// A key that was given up takes what it has signed with it.
    fn unless_given_up(&self, kid: &str) -> Result<(), TokenError> {
        self.keys.ring().find(kid, || self.clock.now()).map(drop).ok_or(TokenError::Invalid)
    }

    async fn decode(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        let (claims, kid) = self.keys.verify(token, &self.validation).await?;
        Ok(VerifiedToken { claims: Arc::new(claims), kid: kid.into() })
    }
}
