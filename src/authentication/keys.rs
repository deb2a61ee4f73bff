//! The key ring: which keys sign, and which are believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sea_orm::{TransactionSession, TransactionTrait};
use serde::Serialize;

use super::ring_provider;
use crate::clock::Clock;
use crate::registry::signing_keys::{self, StoredKey};
use crate::registry::{Registry, RegistryError};
use crate::sealing::SealingError;

/// A key as everybody may see it (RFC 7517, RFC 8037).
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PublicJwk {
    /// Key type: `OKP`.
    pub kty: &'static str,
    /// Curve: `Ed25519`.
    pub crv: &'static str,
    /// The public key, base64url.
    pub x: String,
    /// By which a token names the key.
    pub kid: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// `EdDSA`.
    pub alg: &'static str,
}

pub(super) struct SigningKey {
    pub kid: String,
    pub encoding: EncodingKey,
    pub decoding: DecodingKey,
    public_key: Vec<u8>,
}

impl SigningKey {
    fn new(stored: StoredKey) -> Self {
        Self {
            kid: stored.kid,
            encoding: EncodingKey::from_ed_der(&stored.seed),
            decoding: DecodingKey::from_ed_der(&stored.public_key),
            public_key: stored.public_key,
        }
    }
}

/// Every key that is believed, the one that signs first.
pub struct KeyRing {
    signing: SigningKey,
    older: Vec<SigningKey>,
}

impl KeyRing {
    /// Reads the keys from the registry; makes the first one where there is none. Of replicas that start for the
    /// first time at once, one makes the key and the others wait for it.
    pub async fn load(registry: &Registry, clock: &Clock) -> Result<Self, RegistryError> {
        ring_provider::install();
        let db = registry.connect().await?;
        let transaction = db.begin().await?;
        signing_keys::lock(&transaction).await?;
        if signing_keys::active(&transaction, registry.sealer()).await?.is_empty() {
            let key = generate(registry)?;
            signing_keys::add(&transaction, registry.sealer(), &key, clock.now()).await?;
        }
        let keys = signing_keys::active(&transaction, registry.sealer()).await?;
        transaction.commit().await?;
        let mut keys = keys.into_iter().map(SigningKey::new);
        let signing = keys.next().ok_or(SealingError::Unreadable)?;
        Ok(Self { signing, older: keys.collect() })
    }

    pub(super) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    pub(super) fn find(&self, kid: &str) -> Option<&SigningKey> {
        self.all().find(|key| key.kid == kid)
    }

    fn all(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.signing).chain(&self.older)
    }

    /// The public halves.
    pub fn public(&self) -> Vec<PublicJwk> {
        self.all()
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

fn generate(registry: &Registry) -> Result<StoredKey, RegistryError> {
    let seed: [u8; 32] = registry.sealer().random_bytes()?;
    let pair =
        Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| SealingError::NoRandomness)?;
    let public_key = pair.public_key().as_ref().to_vec();
    let kid = hex::encode(&digest::digest(&digest::SHA256, &public_key).as_ref()[..8]);
    Ok(StoredKey { kid, public_key, seed: seed.to_vec() })
}
