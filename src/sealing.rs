//! Encryption of secrets at rest (AES-256-GCM). The sealed bytes name the master key, and the AAD
//! binds them to their row. Also the keyed hashes by which the registry finds emails and phone
//! numbers without their plain text.

pub mod aad;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};

const FORMAT: u8 = 1;
const KEY_ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Reason why a secret could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// A master key is not 32 bytes in base64.
    #[error("a master key must be 32 bytes in base64; `openssl rand -base64 32` makes one")]
    BadMasterKey,
    /// The sealed bytes are cut off, altered, or belong to another row.
    #[error("a sealed value does not open: it was altered, or moved from another row")]
    Unreadable,
    /// The sealed bytes name a master key that is not configured.
    #[error("a sealed value was written under a master key that is not configured")]
    UnknownKey,
    /// The system's random generator failed.
    #[error("the system's random generator failed")]
    NoRandomness,
}

/// The master keys. The first one seals; all of them open.
pub struct Sealer {
    keys: Vec<([u8; KEY_ID_LEN], LessSafeKey)>,
    random: SystemRandom,
}

impl Sealer {
    /// Creates a sealer with the current master key and the keys that it replaced, each 32 bytes in
    /// base64.
    pub fn new<'a>(
        current: &'a str,
        previous: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, SealingError> {
        let keys = std::iter::once(current)
            .chain(previous)
            .map(|text| {
                let bytes = STANDARD.decode(text.trim()).map_err(|_| SealingError::BadMasterKey)?;
                named_key(&bytes)
            })
            .collect::<Result<_, SealingError>>()?;
        Ok(Self { keys, random: SystemRandom::new() })
    }

    /// Creates a sealer with a single key of 32 bytes.
    pub fn with_key(key: &[u8]) -> Result<Self, SealingError> {
        Ok(Self { keys: vec![named_key(key)?], random: SystemRandom::new() })
    }

    /// Seals `plain` for the row that `aad` names (`table.column/id`). The result can be opened
    /// only for that row.
    pub fn seal(&self, aad: &str, plain: &[u8]) -> Result<Vec<u8>, SealingError> {
        let (id, key) = self.keys.first().ok_or(SealingError::UnknownKey)?;
        let nonce: [u8; NONCE_LEN] = self.random_bytes()?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(id);
        sealed.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad.as_bytes()),
            &mut body,
        )
        .map_err(|_| SealingError::Unreadable)?;
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// The first bytes of every value that is sealed under the current key.
    pub fn mark(&self) -> Result<Vec<u8>, SealingError> {
        let (id, _) = self.keys.first().ok_or(SealingError::UnknownKey)?;
        Ok([&[FORMAT], id.as_slice()].concat())
    }

    /// Opens a value that [`Sealer::seal`] made for the same row.
    pub fn open(&self, aad: &str, sealed: &[u8]) -> Result<Vec<u8>, SealingError> {
        let (header, body) = sealed.split_at_checked(HEADER_LEN).ok_or(SealingError::Unreadable)?;
        let (format_and_id, nonce) = header.split_at(1 + KEY_ID_LEN);
        if format_and_id[0] != FORMAT {
            return Err(SealingError::Unreadable);
        }
        let (_, key) = self
            .keys
            .iter()
            .find(|(id, _)| id == &format_and_id[1..])
            .ok_or(SealingError::UnknownKey)?;
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealingError::Unreadable)?;
        let mut body = body.to_vec();
        let plain = key
            .open_in_place(nonce, Aad::from(aad.as_bytes()), &mut body)
            .map_err(|_| SealingError::Unreadable)?;
        Ok(plain.to_vec())
    }

    /// `N` bytes from the system's random generator.
    pub fn random_bytes<const N: usize>(&self) -> Result<[u8; N], SealingError> {
        random_bytes(&self.random)
    }
}

fn named_key(bytes: &[u8]) -> Result<([u8; KEY_ID_LEN], LessSafeKey), SealingError> {
    let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SealingError::BadMasterKey)?;
    let mut id = [0; KEY_ID_LEN];
    let fingerprint = digest::digest(&digest::SHA256, bytes);
    id.copy_from_slice(&fingerprint.as_ref()[..KEY_ID_LEN]);
    Ok((id, LessSafeKey::new(key)))
}

fn random_bytes<const N: usize>(random: &SystemRandom) -> Result<[u8; N], SealingError> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|_| SealingError::NoRandomness)?;
    Ok(bytes)
}

/// A new master key in base64, for an instance that makes its own (`narthex dev`).
pub fn generate_master_key() -> Result<String, SealingError> {
    Ok(STANDARD.encode(random_bytes::<32>(&SystemRandom::new())?))
}

/// HMAC-SHA-256 under the registry's own key. That key is sealed in the registry, so the hashes
/// stay valid when the master key changes. Each kind of value has its own prefix, so equal texts of
/// two kinds have different hashes.
pub struct LookupHasher(hmac::Key);

impl LookupHasher {
    /// Creates a hasher with this 32-byte key.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The hash under which the registry knows an email address.
    pub fn email(&self, email: &crate::identifiers::EmailAddress) -> Vec<u8> {
        self.hash("email", email.as_str())
    }

    /// The hash under which the registry knows a phone number that is not a tenant's own.
    pub fn phone_number(&self, number: &str) -> Vec<u8> {
        self.hash("phone", number)
    }

    /// The hash of a key that a client chose for its request (`Idempotency-Key`).
    pub fn idempotency_key(&self, key: &str) -> Vec<u8> {
        self.hash("idempotency-key", key)
    }

    /// The hash of a request, to distinguish a repeated request from another one with the same
    /// idempotency key.
    pub fn request(&self, request: &str) -> Vec<u8> {
        self.hash("request", request)
    }

    /// The hash of an audit log entry and all entries before it.
    pub fn audit(&self, log: &str, previous: &[u8], entry: &[u8]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [b"audit:".as_slice(), log.as_bytes(), b":", previous, b":", entry] {
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }

    /// An authentication tag, which proves that this installation made the bytes.
    pub fn tag(&self, bytes: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, &tagged(bytes)).as_ref().to_vec()
    }

    /// A secret derived from another one. It cannot be computed without the key.
    pub fn successor(&self, secret: &[u8]) -> [u8; 32] {
        let mut successor = [0; 32];
        let context = [b"successor:".as_slice(), secret].concat();
        successor.copy_from_slice(hmac::sign(&self.0, &context).as_ref());
        successor
    }

    /// True if `tag` is the tag of `bytes`. Compared in constant time.
    pub fn has_tagged(&self, bytes: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, &tagged(bytes), tag).is_ok()
    }

    /// The id of this installation in ownership tags on database servers. It never changes and
    /// reveals nothing of the key.
    pub fn installation(&self) -> String {
        hex::encode(&self.hash("installation", "")[..8])
    }

    fn hash(&self, kind: &str, text: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(kind.as_bytes());
        context.update(b":");
        context.update(text.as_bytes());
        context.sign().as_ref().to_vec()
    }
}

fn tagged(bytes: &[u8]) -> Vec<u8> {
    [b"tag:", bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(keys: &[&str]) -> Sealer {
        Sealer::new(keys[0], keys[1..].iter().copied()).unwrap()
    }

    #[test]
    fn a_secret_opens_only_for_its_own_row() {
        let sealer = sealer(&[&generate_master_key().unwrap()]);
        let sealed = sealer.seal("tenants.password/1", b"secret").unwrap();
        assert_eq!(sealer.open("tenants.password/1", &sealed).unwrap(), b"secret");
        assert_eq!(sealer.open("tenants.password/2", &sealed), Err(SealingError::Unreadable));
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let sealer = sealer(&[&generate_master_key().unwrap()]);
        let sealed = sealer.seal("row", b"secret").unwrap();
        for position in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[position] ^= 1;
            assert!(sealer.open("row", &altered).is_err(), "byte {position}");
        }
        for length in 0..sealed.len() {
            assert!(sealer.open("row", &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_replaced_master_key_still_opens_and_no_longer_seals() {
        let (old, new) = (generate_master_key().unwrap(), generate_master_key().unwrap());
        let sealed = sealer(&[&old]).seal("row", b"secret").unwrap();
        let rotated = sealer(&[&new, &old]);
        assert_eq!(rotated.open("row", &sealed).unwrap(), b"secret");
        let resealed = rotated.seal("row", b"secret").unwrap();
        assert_eq!(sealer(&[&old]).open("row", &resealed), Err(SealingError::UnknownKey));
    }

    #[test]
    fn a_short_master_key_is_refused() {
        assert_eq!(Sealer::new("c2hvcnQ=", []).err(), Some(SealingError::BadMasterKey));
    }
}
