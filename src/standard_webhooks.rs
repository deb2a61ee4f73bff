//! Standard Webhooks, version `v1`: HMAC-SHA-256 over the id of the delivery, the time of sending and
//! the raw body (<https://www.standardwebhooks.com>). Clerk signs its webhooks like this, and calls to
//! the operator's hooks are signed like this.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::hmac;

/// How far the timestamp may be from our clock, in seconds, in either direction. The libraries of
/// Svix, through which Clerk sends, use the same number.
pub const TOLERANCE_SECONDS: i64 = 300;

/// Longest id of a delivery. Real ones have some 30 characters.
const MAX_ID_BYTES: usize = 255;
/// `i64::MAX` has 19 digits, so a longer timestamp cannot be one even with leading zeros.
const MAX_TIMESTAMP_DIGITS: usize = 19;
/// Signatures that are tried. Each costs one HMAC over the body; a real sender has two secrets at
/// most.
const MAX_SIGNATURES: usize = 8;
/// Shorter secrets can be guessed. Real ones have 24 bytes or more.
const LEAST_SECRET_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// Why a webhook is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SignatureError {
    /// One of the three headers is missing.
    #[error("the id, the timestamp or the signature header is missing")]
    MissingHeader,
    /// A header occurs twice. A proxy in between and this check could disagree about which value
    /// counts.
    #[error("the id, the timestamp or the signature header is there more than once")]
    RepeatedHeader,
    /// The id is not one that a sender gives.
    #[error("the id is empty, too long, or has characters that no id has")]
    MalformedId,
    /// The timestamp has other characters than digits.
    #[error("the timestamp is not a plain number of seconds")]
    MalformedTimestamp,
    /// The event was recorded and sent again, or our clock is wrong.
    #[error("the timestamp is more than {TOLERANCE_SECONDS} seconds away from our clock")]
    OutsideTolerance,
    /// No entry has the form of a `v1` signature.
    #[error("the signature header holds no `v1` signature of 32 bytes in base64")]
    MalformedSignature,
    /// None of the signatures is valid.
    #[error("no signature fits the secret, the id, the timestamp and the body")]
    BadSignature,
}

impl SignatureError {
    /// The reason as a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::RepeatedHeader => "repeated_header",
            Self::MalformedId => "malformed_id",
            Self::MalformedTimestamp => "malformed_timestamp",
            Self::OutsideTolerance => "outside_tolerance",
            Self::MalformedSignature => "malformed_signature",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// Why a configured secret cannot be used. No variant shows the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The text is not in the form that the provider's dashboard shows.
    #[error("the secret is not standard base64 after `whsec_`")]
    NotBase64,
    /// The secret has so few bytes that it can be guessed.
    #[error("the secret has {0} bytes; the provider's have at least {LEAST_SECRET_BYTES}")]
    TooShort(usize),
}

/// The endpoint's signing secret, known to the provider and to us.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// Reads a secret as the provider's dashboard shows it: `whsec_` and base64. White space at the
    /// ends is ignored, because secrets come from files.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim_ascii();
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let bytes = STANDARD
            .decode(encoded)
            .or_else(|_| STANDARD_NO_PAD.decode(encoded))
            .map_err(|_| SecretError::NotBase64)?;
        if bytes.len() < LEAST_SECRET_BYTES {
            return Err(SecretError::TooShort(bytes.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A secret of these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Signs a body. Returns the value for the header of signatures.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let message = signed_bytes(id.as_bytes(), timestamp.to_string().as_bytes(), body);
        format!("v1,{}", STANDARD.encode(hmac::sign(&self.0, &message)))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}

/// All values of the three headers, as raw bytes and in order.
#[derive(Clone, Debug, Default)]
pub struct SignedHeaders<'a> {
    /// Values of the header with the id of the delivery, which is the same in every attempt.
    pub ids: Vec<&'a [u8]>,
    /// Values of the header with the time of sending: Unix seconds in decimal digits.
    pub timestamps: Vec<&'a [u8]>,
    /// Values of the header with `v1,<base64>`. While a secret is being replaced it holds several,
    /// separated by spaces.
    pub signatures: Vec<&'a [u8]>,
}

/// Verifies one webhook. `body` is the request body before any parsing, `now` our clock in Unix
/// seconds. Returns the id of the delivery. The HMAC comes last, so that junk costs none.
pub fn verify<'a>(
    secret: &Secret,
    headers: &SignedHeaders<'a>,
    body: &[u8],
    now: i64,
) -> Result<&'a str, SignatureError> {
    let Plausible { id, id_text, timestamp, tags } = check_headers(headers, now)?;
    let message = signed_bytes(id, timestamp, body);
    // The body is hashed once, however many tags there are. ring compares in constant time, but
    // hashes its input, so the hashes of the tags are compared.
    let expected = hmac::sign(&secret.0, hmac::sign(&secret.0, &message).as_ref());
    let fits = tags.iter().any(|tag| hmac::verify(&secret.0, tag, expected.as_ref()).is_ok());
    if fits { Ok(id_text) } else { Err(SignatureError::BadSignature) }
}

/// Headers that have the form of a signed webhook's.
#[derive(Debug)]
pub struct Plausible<'a> {
    id: &'a [u8],
    id_text: &'a str,
    timestamp: &'a [u8],
    tags: Vec<[u8; TAG_BYTES]>,
}

/// Checks a webhook before its body has arrived.
///
/// # Errors
///
/// Those of [`verify`], except [`SignatureError::BadSignature`].
pub fn check_headers<'a>(
    headers: &SignedHeaders<'a>,
    now: i64,
) -> Result<Plausible<'a>, SignatureError> {
    let id = only_value(&headers.ids)?;
    let timestamp = only_value(&headers.timestamps)?;
    let signatures = only_value(&headers.signatures)?;
    let id_text = id_text(id)?;
    if unix_seconds(timestamp)?.abs_diff(now) > TOLERANCE_SECONDS.unsigned_abs() {
        return Err(SignatureError::OutsideTolerance);
    }
    let tags: Vec<_> = signatures.split(|byte| *byte == b' ').filter_map(tag).collect();
    if tags.is_empty() || tags.len() > MAX_SIGNATURES {
        return Err(SignatureError::MalformedSignature);
    }
    Ok(Plausible { id, id_text, timestamp, tags })
}

fn only_value<'a>(values: &[&'a [u8]]) -> Result<&'a [u8], SignatureError> {
    match values {
        [] => Err(SignatureError::MissingHeader),
        [value] => Ok(value),
        _ => Err(SignatureError::RepeatedHeader),
    }
}

/// The id as text. It has no dot, because dots separate the signed parts.
fn id_text(id: &[u8]) -> Result<&str, SignatureError> {
    let plain = (1..=MAX_ID_BYTES).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.');
    let text = std::str::from_utf8(id).map_err(|_| SignatureError::MalformedId)?;
    plain.then_some(text).ok_or(SignatureError::MalformedId)
}

/// Stricter than `str::parse`, which accepts a leading `+` or `-`.
fn unix_seconds(text: &[u8]) -> Result<i64, SignatureError> {
    if text.len() > MAX_TIMESTAMP_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return Err(SignatureError::MalformedTimestamp);
    }
    let digits = std::str::from_utf8(text).map_err(|_| SignatureError::MalformedTimestamp)?;
    digits.parse().map_err(|_| SignatureError::MalformedTimestamp)
}

/// The bytes of a `v1` entry. Entries of other versions and malformed entries are skipped.
fn tag(entry: &[u8]) -> Option<[u8; TAG_BYTES]> {
    let encoded = entry.strip_prefix(b"v1,")?;
    STANDARD.decode(encoded).ok()?.try_into().ok()
}

fn signed_bytes(id: &[u8], timestamp: &[u8], body: &[u8]) -> Vec<u8> {
    [id, b".", timestamp, b".", body].concat()
}

#[cfg(test)]
mod tests;
