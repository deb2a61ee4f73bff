//! Proves that a webhook comes from our Telnyx account. The signature covers the text of the
//! timestamp header, a `|` and the raw body. It identifies the account, not the tenant. Scheme:
//! <https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Header with the Ed25519 signature: 64 bytes in standard base64.
pub const SIGNATURE_HEADER: &str = "telnyx-signature-ed25519";

/// Header with the time of signing: Unix seconds in decimal digits.
pub const TIMESTAMP_HEADER: &str = "telnyx-timestamp";

/// How far the timestamp may be from our clock, in seconds, in either direction. The provider's own
/// libraries use the same number.
pub const TOLERANCE_SECONDS: i64 = 300;

/// `i64::MAX` has 19 digits, so a longer timestamp cannot be one even with leading zeros.
const MAX_TIMESTAMP_DIGITS: usize = 19;

const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// Every encoding, sign bit cleared, of a curve point whose order divides the cofactor 8 (RFC 8032,
/// section 5.1). For such a key anyone can make signatures, and ring does not refuse it. The first
/// one is a key of zeros only.
const SMALL_ORDER_KEYS: [&str; 7] = [
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "JuiVj8KyJ7BFw/SJ8u+Y8NXfrAXTxjM5sTgCiG1T/AU=",
    "xxdqcD1N2E+6PAt2DRBnDyogU/osOczGTsf9d5KsA3o=",
    "7P///////////////////////////////////////38=",
    "7f///////////////////////////////////////38=",
    "7v///////////////////////////////////////38=",
];

/// Why a webhook is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says it")]
pub enum SignatureError {
    #[error("the signature or the timestamp header is missing")]
    MissingHeader,
    #[error("the signature or the timestamp header is there more than once")]
    RepeatedHeader,
    #[error("the timestamp is not a plain number of seconds")]
    MalformedTimestamp,
    #[error("the signature is not 64 bytes in standard base64")]
    MalformedSignature,
    #[error("the timestamp is more than {TOLERANCE_SECONDS} seconds away from our clock")]
    OutsideTolerance,
    #[error("the signature does not fit the key, the timestamp and the body")]
    BadSignature,
}

impl SignatureError {
    /// The reason as a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::RepeatedHeader => "repeated_header",
            Self::MalformedTimestamp => "malformed_timestamp",
            Self::MalformedSignature => "malformed_signature",
            Self::OutsideTolerance => "outside_tolerance",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// Why a configured key cannot be used. No variant shows the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says it")]
pub enum KeyError {
    #[error("the key is not standard base64")]
    NotBase64,
    #[error("the key has {0} bytes, not {KEY_BYTES}")]
    Length(usize),
    #[error("the key is a placeholder or a point under which anyone can sign")]
    Weak,
}

/// The account's public key: the raw 32 bytes of an Ed25519 key. All messaging profiles and numbers
/// of the account use this one key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Reads the key as the provider's portal shows it (Keys & Credentials, Public Key): standard
    /// base64 without PEM or DER around it. White space at the ends is ignored, because keys come
    /// from files.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for other encodings and lengths, and for keys of small order such as 32 zero
    /// bytes.
    pub fn from_base64(text: &str) -> Result<PublicKey, KeyError> {
        let bytes = key_bytes(text)?;
        let mut unsigned = bytes;
        unsigned[KEY_BYTES - 1] &= 0x7f;
        if SMALL_ORDER_KEYS.contains(&STANDARD.encode(unsigned).as_str()) {
            return Err(KeyError::Weak);
        }
        Ok(PublicKey(bytes))
    }

    /// The inverse of [`PublicKey::from_base64`].
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("PublicKey").field(&self.to_base64()).finish()
    }
}

/// Verifies one webhook. `signatures` and `timestamps` are all values of the two headers as raw
/// bytes, in order. `body` is the request body before any parsing, `now_unix_seconds` is our clock.
///
/// # Errors
///
/// [`SignatureError`], found in this order: headers, timestamp, tolerance, form of the signature.
/// The curve operation comes last, so that junk costs no cryptography.
pub fn verify<'a>(
    key: &PublicKey,
    signatures: impl IntoIterator<Item = &'a [u8]>,
    timestamps: impl IntoIterator<Item = &'a [u8]>,
    body: &[u8],
    now_unix_seconds: i64,
) -> Result<(), SignatureError> {
    check_headers(signatures, timestamps, now_unix_seconds)?.over(body).verify(key)?;
    Ok(())
}

/// Headers that have the form of a signed webhook's.
#[derive(Debug)]
pub struct Plausible<'a> {
    timestamp: &'a [u8],
    signature: [u8; SIGNATURE_BYTES],
}

impl Plausible<'_> {
    /// Adds the body that came with the headers.
    pub fn over(&self, body: &[u8]) -> Signed {
        Signed {
            message: signed_bytes(self.timestamp, body),
            body_at: self.timestamp.len() + 1,
            signature: self.signature,
        }
    }
}

/// A webhook whose signature has not been checked yet.
pub struct Signed {
    message: Vec<u8>,
    body_at: usize,
    signature: [u8; SIGNATURE_BYTES],
}

impl Signed {
    /// Length of the body in bytes.
    pub fn body_len(&self) -> usize {
        self.message.len() - self.body_at
    }

    /// Returns the body if it is the provider's. The time grows with the size: some 2 ms for 1 MiB.
    ///
    /// # Errors
    ///
    /// [`SignatureError::BadSignature`].
    pub fn verify(&self, key: &PublicKey) -> Result<&[u8], SignatureError> {
        UnparsedPublicKey::new(&ED25519, &key.0)
            .verify(&self.message, &self.signature)
            .map_err(|_| SignatureError::BadSignature)?;
        Ok(&self.message[self.body_at..])
    }
}

/// Checks a webhook before its body has arrived.
///
/// # Errors
///
/// Those of [`verify`], except [`SignatureError::BadSignature`].
pub fn check_headers<'a>(
    signatures: impl IntoIterator<Item = &'a [u8]>,
    timestamps: impl IntoIterator<Item = &'a [u8]>,
    now_unix_seconds: i64,
) -> Result<Plausible<'a>, SignatureError> {
    let signature = only_value(signatures)?;
    let timestamp = only_value(timestamps)?;
    if unix_seconds(timestamp)?.abs_diff(now_unix_seconds) > TOLERANCE_SECONDS.unsigned_abs() {
        return Err(SignatureError::OutsideTolerance);
    }
    Ok(Plausible { timestamp, signature: signature_bytes(signature)? })
}

/// Signs webhooks the way the provider does, for the demo, for `narthex simulate sms` and for
/// tests.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Builds the key pair of a 32-byte private seed (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`], which a seed of this type does not cause today.
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Result<SigningKey, KeyError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Length(seed.len()))?;
        let public = pair.public_key().as_ref();
        let public =
            public.try_into().map(PublicKey).map_err(|_| KeyError::Length(public.len()))?;
        Ok(SigningKey { pair, public })
    }

    /// Builds the key pair of a seed in standard base64.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the text is not base64 of 32 bytes.
    pub fn from_base64(text: &str) -> Result<SigningKey, KeyError> {
        SigningKey::from_seed(&key_bytes(text)?)
    }

    /// The public key, to configure at the receiver.
    pub fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    /// Signs `body` as sent at `timestamp` (Unix seconds) and returns the value for
    /// [`SIGNATURE_HEADER`]. The timestamp header has to carry the same number in plain decimal
    /// digits.
    pub fn sign(&self, timestamp: i64, body: &[u8]) -> String {
        let message = signed_bytes(timestamp.to_string().as_bytes(), body);
        STANDARD.encode(self.pair.sign(&message))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

fn key_bytes(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    let bytes = STANDARD.decode(text.trim_ascii()).map_err(|_| KeyError::NotBase64)?;
    bytes.try_into().map_err(|bytes: Vec<u8>| KeyError::Length(bytes.len()))
}

/// The only value of a header. A proxy in between and this check could disagree about which of two
/// values counts.
fn only_value<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<&'a [u8], SignatureError> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(SignatureError::MissingHeader)?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(SignatureError::RepeatedHeader),
    }
}

/// Stricter than `str::parse`, which accepts a leading `+` or `-`.
fn unix_seconds(text: &[u8]) -> Result<i64, SignatureError> {
    if text.len() > MAX_TIMESTAMP_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return Err(SignatureError::MalformedTimestamp);
    }
    let digits = std::str::from_utf8(text).map_err(|_| SignatureError::MalformedTimestamp)?;
    digits.parse().map_err(|_| SignatureError::MalformedTimestamp)
}

fn signature_bytes(text: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignatureError> {
    if text.len() != SIGNATURE_BYTES.div_ceil(3) * 4 {
        return Err(SignatureError::MalformedSignature);
    }
    let bytes = STANDARD.decode(text).map_err(|_| SignatureError::MalformedSignature)?;
    bytes.try_into().map_err(|_| SignatureError::MalformedSignature)
}

fn signed_bytes(timestamp: &[u8], body: &[u8]) -> Vec<u8> {
    [timestamp, b"|", body].concat()
}

#[cfg(test)]
mod tests;
