//! The key ring: the keys that sign tokens and the keys that verify them.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use parking_lot::{Mutex, RwLock};
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sea_orm::{TransactionSession, TransactionTrait};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::error::TokenError;
use super::ring_provider;
use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::registry::secrets::signing_keys::{self, Audience, StoredKey};
use crate::registry::{Registry, RegistryError};
use crate::sealing::SealingError;

/// A public key in JWK format (RFC 7517, RFC 8037).
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PublicJwk {
    /// Key type: `OKP`.
    pub kty: &'static str,
    /// Curve: `Ed25519`.
    pub crv: &'static str,
    /// The public key, base64url.
    pub x: String,
    /// Key id; the header of a token names it.
    pub kid: String,
    /// Public key use: `sig`.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// Algorithm: `EdDSA`.
    pub alg: &'static str,
}

pub(super) struct SigningKey {
    pub kid: String,
    pub encoding: EncodingKey,
    pub decoding: DecodingKey,
    public_key: Vec<u8>,
    created_at: DateTime<Utc>,
    retired_at: Option<DateTime<Utc>>,
}

impl SigningKey {
    fn new(stored: StoredKey) -> Self {
        Self {
            kid: stored.kid,
            encoding: EncodingKey::from_ed_der(&stored.seed),
            decoding: DecodingKey::from_ed_der(&stored.public_key),
            public_key: stored.public_key,
            created_at: stored.created_at,
            retired_at: stored.retired_at,
        }
    }
}

/// A new key is published this long before it signs. All replicas and all caches of the public keys
/// have the key by then.
const PUBLISHED_BEFORE: TimeDelta = TimeDelta::minutes(10);
/// Added to the life of the tokens that a key has signed.
const MARGIN: TimeDelta = TimeDelta::minutes(1);
/// Longer texts are refused. The tokens of Narthex have about 500 bytes.
pub(super) const MAX_TOKEN_BYTES: usize = 4096;
/// How often a replica reads the keys.
const PERIOD: Duration = Duration::from_secs(5);
/// A token with an unknown key id makes a replica read the keys at once, but not more often than
/// this.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// All keys that verify tokens at one moment.
pub struct KeyRing(Vec<SigningKey>);

impl KeyRing {
    fn of(stored: Vec<StoredKey>) -> Result<Self, RegistryError> {
        let keys: Vec<_> = stored.into_iter().map(SigningKey::new).collect();
        if keys.is_empty() { Err(SealingError::Unreadable.into()) } else { Ok(Self(keys)) }
    }

    /// The newest key that was published long enough ago, else the oldest key.
    pub(super) fn signing(&self, now: DateTime<Utc>) -> Option<&SigningKey> {
        let is_known = |key: &&SigningKey| key.created_at + PUBLISHED_BEFORE <= now;
        self.0.iter().find(is_known).or(self.0.last())
    }

    pub(super) fn find(&self, kid: &str, now: impl Fn() -> DateTime<Utc>) -> Option<&SigningKey> {
        self.0.iter().find(|key| key.kid == kid && key.retired_at.is_none_or(|at| at > now()))
    }

    /// The public keys, for publication.
    pub fn public(&self) -> Vec<PublicJwk> {
        self.0
            .iter()
            .map(|key| PublicJwk {
                kty: "OKP",
                crv: "Ed25519",
                x: URL_SAFE_NO_PAD.encode(&key.public_key),
                kid: key.kid.clone(),
                usage: "sig",
                alg: "EdDSA",
            })
            .collect()
    }
}

/// The current key ring, refreshed in the background. Clones share it.
#[derive(Clone)]
pub struct SigningKeys {
    registry: Registry,
    audience: Audience,
    ring: Arc<RwLock<Arc<KeyRing>>>,
    last_refresh: Arc<Mutex<Instant>>,
    clock: Clock,
}

impl SigningKeys {
    /// Reads the keys of an audience from the registry and creates the first key if there is none.
    /// If several replicas start for the first time at once, one creates the key and the others
    /// wait for it. Reads changes until `life` stops.
    pub async fn load(
        registry: Registry,
        audience: Audience,
        life: &Lifecycle,
        clock: Clock,
    ) -> Result<Self, RegistryError> {
        ring_provider::install();
        let db = registry.connect().await?;
        let transaction = db.begin().await?;
        signing_keys::lock(&transaction).await?;
        let now = clock.now();
        let active = async || {
            signing_keys::active(&transaction, registry.sealer(), Some(audience), now).await
        };
        let mut keys = active().await?;
        if keys.is_empty() {
            // Replicas of a version before operators existed sign with the newest key that they
            // know. The operators' key must not be the newest.
            let since = match audience {
                Audience::Tenant => now,
                Audience::Operator => DateTime::UNIX_EPOCH,
            };
            let first = generate(&registry, audience, since)?;
            signing_keys::add(&transaction, registry.sealer(), &first).await?;
            keys = active().await?;
        }
        transaction.commit().await?;
        drop(db);
        let ring = Arc::new(RwLock::new(Arc::new(KeyRing::of(keys)?)));
        let last_refresh = Arc::new(Mutex::new(Instant::now()));
        let keys = Self { registry, audience, ring, last_refresh, clock };
        let (follower, stopping) = (keys.clone(), life.clone());
        life.spawn("signing keys", async move {
            tokio::select! {
                () = stopping.stopping() => {}
                () = follower.follow() => {}
            }
        });
        Ok(keys)
    }

    /// The current keys.
    pub fn ring(&self) -> Arc<KeyRing> {
        self.ring.read().clone()
    }

    /// Reads the keys again, unless the last read was less than one second ago.
    pub(super) async fn refresh(&self) {
        {
            let mut last_refresh = self.last_refresh.lock();
            if last_refresh.elapsed() < REFRESH_PAUSE {
                return;
            }
            *last_refresh = Instant::now();
        }
        // Readiness reports that the registry is unavailable.
        if let Err(error) = self.read().await {
            tracing::debug!(%error, "the signing keys could not be read");
        }
    }

    async fn read(&self) -> Result<(), RegistryError> {
        let db = self.registry.connect().await?;
        let (sealer, now) = (self.registry.sealer(), self.clock.now());
        let keys = signing_keys::active(&db, sealer, Some(self.audience), now).await?;
        let ring = Arc::new(KeyRing::of(keys)?);
        *self.ring.write() = ring;
        Ok(())
    }

    /// Signs a token with these claims.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, TokenError> {
        let (ring, now) = (self.ring(), self.clock.now());
        let none = || TokenError::Unsigned("there is no key".to_owned());
        let key = ring.signing(now).ok_or_else(none)?;
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        encode(&header, claims, &key.encoding).map_err(|e| TokenError::Unsigned(e.to_string()))
    }

    /// Verifies a token. Returns its claims and the id of the key that signed it.
    pub(super) async fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        validation: &Validation,
    ) -> Result<(C, String), TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid =
            header.kid.filter(|_| header.alg == Algorithm::EdDSA).ok_or(TokenError::Invalid)?;
        let now = self.clock.now();
        if self.ring().find(&kid, || now).is_none() {
            self.refresh().await;
        }
        let ring = self.ring();
        let key = ring.find(&kid, || now).ok_or(TokenError::Invalid)?;
        let data = decode::<C>(token, &key.decoding, validation);
        Ok((data.map_err(|_| TokenError::Invalid)?.claims, kid))
    }

    async fn follow(&self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            self.refresh().await;
        }
    }

    /// Creates a new key and returns its id. The key signs after all replicas know it. The older
    /// keys verify tokens until the last token that they signed has expired. `at_once`: the older
    /// keys are invalid immediately, and every client has to refresh its session.
    pub(super) async fn rotate(
        &self,
        token_life: TimeDelta,
        at_once: bool,
    ) -> Result<String, RegistryError> {
        let now = self.clock.now();
        let key = generate(&self.registry, self.audience, now)?;
        let end = if at_once { now } else { now + PUBLISHED_BEFORE + token_life + MARGIN };
        let db = self.registry.connect().await?;
        let transaction = db.begin().await?;
        signing_keys::lock(&transaction).await?;
        signing_keys::add(&transaction, self.registry.sealer(), &key).await?;
        signing_keys::retire_others(&transaction, &key, end).await?;
        signing_keys::remove_retired(&transaction, now - MARGIN).await?;
        transaction.commit().await?;
        Ok(key.kid)
    }
}

fn generate(
    registry: &Registry,
    audience: Audience,
    now: DateTime<Utc>,
) -> Result<StoredKey, RegistryError> {
    let seed: [u8; 32] = registry.sealer().random_bytes()?;
    let pair =
        Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| SealingError::NoRandomness)?;
    let public_key = pair.public_key().as_ref().to_vec();
    let kid = hex::encode(&digest::digest(&digest::SHA256, &public_key).as_ref()[..8]);
    let seed = seed.to_vec();
    Ok(StoredKey { kid, public_key, seed, created_at: now, retired_at: None, audience })
}

/// Validation by algorithm, issuer and audience. The expiry is checked by the caller with
/// [`Clock`].
pub(super) fn validation(issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_exp = false;
    validation
}
