//! Session tokens of Clerk: JWTs that Clerk signs with RS256 for its users. The registry maps user
//! and organization to a member of staff and a role; role claims of the token are ignored.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moka::future::Cache;
use ring::digest::{self, SHA256};
use serde::Deserialize;
use uuid::Uuid;

mod claims;
mod jwks;

use claims::{ClaimsValidator, SessionClaims};
use jwks::JwkSet;

use super::error::{AccessError, TokenError};
use super::tokens::{AUDIENCE, Claims, PROOF_LIFE};
use crate::clock::Clock;
use crate::configuration::ClerkSettings;
use crate::registry::Registry;
use crate::registry::inbox::clerk::find_caller;

/// Longer texts are refused. Clerk keeps its tokens below the 4 KiB of a cookie.
const MAX_TOKEN_BYTES: usize = 8192;
const REMEMBERED_TOKENS: u64 = 50_000;
/// A verified token is cached this long. The end of a membership takes effect after this time at
/// the latest.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// The header members (RFC 7515) that Narthex reads. Other members are ignored; a token with `crit`
/// is refused.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    crit: Option<serde_json::Value>,
}

/// Verifies session tokens of one Clerk instance.
pub(super) struct ClerkTokens {
    registry: Registry,
    keys: JwkSet,
    judge: ClaimsValidator,
    remembered: Cache<[u8; 32], (Arc<Claims>, Validity)>,
    clock: Clock,
}

/// Expiry of a token, including the clock skew, in seconds since 1970.
#[derive(Clone, Copy)]
struct Validity {
    until: i64,
}

impl ClerkTokens {
    /// Returns `None` if no Clerk instance is configured.
    pub fn new(
        settings: &ClerkSettings,
        registry: Registry,
        clock: Clock,
    ) -> Result<Option<Self>, TokenError> {
        let Some(issuer) = settings.issuer.clone() else { return Ok(None) };
        let url = settings.jwks_url.clone();
        let url = url.unwrap_or_else(|| format!("{issuer}/.well-known/jwks.json"));
        let remembered =
            Cache::builder().max_capacity(REMEMBERED_TOKENS).time_to_live(REMEMBERED_FOR).build();
        Ok(Some(Self {
            registry,
            keys: JwkSet::new(url, clock.clone())?,
            judge: ClaimsValidator { issuer, parties: settings.authorized_parties.clone() },
            remembered,
            clock,
        }))
    }

    /// The claims of the member of staff that the token belongs to. Does not check revocations.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, AccessError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid.into());
        }
        let key = digest_of(token.as_bytes());
        if let Some((claims, judged)) = self.remembered.get(&key).await {
            if judged.until <= self.clock.now().timestamp() {
                return Err(TokenError::Expired.into());
            }
            return Ok(claims);
        }
        let session = self.decode(token).await?;
        let now = self.clock.now().timestamp();
        let judged = Validity { until: self.judge.accept(&session, now)? };
        let claims = Arc::new(self.claims_of(session, token).await?);
        self.remembered.insert(key, (claims.clone(), judged)).await;
        Ok(claims)
    }

    /// As [`ClerkTokens::verify`], but also accepts an expired token, to find the session that is
    /// to end.
    pub async fn verify_at_any_age(&self, token: &str) -> Result<Arc<Claims>, AccessError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid.into());
        }
        let session = self.decode(token).await?;
        match self.judge.accept(&session, self.clock.now().timestamp()) {
            Ok(_) | Err(TokenError::Expired) => Ok(Arc::new(self.claims_of(session, token).await?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Maps a Clerk session to a tenant and a member of staff.
    async fn claims_of(&self, session: SessionClaims, token: &str) -> Result<Claims, AccessError> {
        let organization = session.organization().ok_or(TokenError::Invalid)?;
        let db = self.registry.connect().await?;
        let caller = find_caller(&db, organization, &session.sub).await?;
        drop(db);
        let caller = caller.ok_or(TokenError::Invalid)?;
        let proven_until = session.proven_until(PROOF_LIFE);
        Ok(Claims {
            iss: session.iss,
            aud: AUDIENCE.to_owned(),
            sub: caller.staff,
            tid: caller.tenant,
            sid: id_of("session", &session.sid),
            role: caller.role,
            iat: session.iat,
            exp: session.exp,
            jti: id_of("token", token),
            imp: None,
            proven_until,
        })
    }

    /// True if Clerk issued the token with these claims.
    pub fn has_issued(&self, claims: &Claims) -> bool {
        claims.iss == self.judge.issuer
    }

    /// The claims of a token, after algorithm, key and signature were checked.
    async fn decode(&self, token: &str) -> Result<SessionClaims, TokenError> {
        let invalid = || TokenError::Invalid;
        let (message, signature) = token.rsplit_once('.').ok_or_else(invalid)?;
        let (header, body) = message.split_once('.').ok_or_else(invalid)?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Invalid);
        let header: Header = serde_json::from_slice(&bytes(header)?).map_err(|_| invalid())?;
        if header.alg != "RS256" || header.crit.is_some() {
            return Err(invalid());
        }
        let signature = bytes(signature)?;
        let key = self.keys.find(&header.kid).await?.ok_or_else(invalid)?;
        if !key.has_signed(message.as_bytes(), &signature) {
            return Err(invalid());
        }
        serde_json::from_slice(&bytes(body)?).map_err(|_| invalid())
    }
}

fn digest_of(bytes: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
    key
}

/// Deterministic id for one of Clerk's identifiers, the same on every replica. Revocations use it
/// as the session id.
fn id_of(kind: &str, text: &str) -> Uuid {
    let digest = digest_of(format!("clerk:{kind}:{text}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
