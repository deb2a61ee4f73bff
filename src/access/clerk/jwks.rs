//! Public keys of Clerk's tokens (JWKS), fetched with the first token and cached. An unknown key id
//! makes the replica fetch them again, with a minimum pause, so that invented key ids cannot cause
//! an unlimited number of requests to Clerk.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::RwLock;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::access::TokenError;
use crate::clock::Clock;
use crate::outbound;

/// Time limit of one fetch, from the first byte to the last.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Real responses have about 2 KiB.
const MAX_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 64;
/// Minimum pause between two fetches for unknown key ids.
const UNKNOWN_KEY_EVERY: TimeDelta = TimeDelta::seconds(30);
/// Minimum pause after a failed fetch.
const AFTER_A_FAILURE: TimeDelta = TimeDelta::seconds(2);
/// Keys older than this are fetched again. If the fetch fails, the cached keys stay in use.
const OLDEST: TimeDelta = TimeDelta::hours(1);
/// Accepted sizes of an RSA modulus in bytes: those that ring can verify.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// RSA public key that verifies RS256.
pub(super) struct PublicKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl PublicKey {
    /// True if this key verifies the RS256 signature of `message`.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok()
    }
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<PublicKey>>,
    /// Time of the fetch; `None` before the first one.
    at: Option<DateTime<Utc>>,
}

/// The last fetch.
#[derive(Clone, Copy)]
struct Attempt {
    at: DateTime<Utc>,
    has_failed: bool,
}

/// The cached keys of one Clerk instance.
pub(super) struct JwkSet {
    client: reqwest::Client,
    url: String,
    known: RwLock<Known>,
    /// Locked during a fetch, so that concurrent callers share one fetch.
    reading: Mutex<Option<Attempt>>,
    clock: Clock,
}

impl JwkSet {
    pub fn new(url: String, clock: Clock) -> Result<Self, TokenError> {
        let client = outbound::client(TIMEOUT)
            .map_err(|error| TokenError::KeysUnavailable(error.to_string()))?;
        Ok(Self { client, url, known: RwLock::default(), reading: Mutex::default(), clock })
    }

    /// The key with this id. `None` if Clerk has no such key.
    pub async fn find(&self, kid: &str) -> Result<Option<Arc<PublicKey>>, TokenError> {
        let now = self.clock.now();
        if let (Some(key), is_fresh) = self.look_up(kid, now) {
            if !is_fresh && let Ok(mut last) = self.reading.try_lock() {
                // If the fetch fails, the cached key stays in use.
                let _ = self.read_again(&mut last, now).await;
                return Ok(self.look_up(kid, now).0);
            }
            return Ok(Some(key));
        }
        let mut last = self.reading.lock().await;
        // Another caller may have fetched the keys while this one waited for the lock.
        if let (Some(key), _) = self.look_up(kid, now) {
            return Ok(Some(key));
        }
        self.read_again(&mut last, now).await?;
        Ok(self.look_up(kid, now).0)
    }

    /// The key with this id, and whether the cache is fresh.
    fn look_up(&self, kid: &str, now: DateTime<Utc>) -> (Option<Arc<PublicKey>>, bool) {
        let known = self.known.read();
        let is_fresh = known.at.is_some_and(|at| (now - at).abs() < OLDEST);
        (known.keys.get(kid).cloned(), is_fresh)
    }

    /// Fetches the keys, unless the last fetch was too recent. If the fetch fails, the cached keys
    /// stay.
    async fn read_again(
        &self,
        last: &mut Option<Attempt>,
        now: DateTime<Utc>,
    ) -> Result<(), TokenError> {
        if let Some(last) = last {
            let pause = if last.has_failed { AFTER_A_FAILURE } else { UNKNOWN_KEY_EVERY };
            if (now - last.at).abs() < pause {
                let failed = TokenError::KeysUnavailable("they could not be read just now".into());
                return if last.has_failed { Err(failed) } else { Ok(()) };
            }
        }
        // Recorded as failed first: a cancelled fetch then counts as failed.
        *last = Some(Attempt { at: now, has_failed: true });
        let keys = self.read().await.map_err(|reason| {
            tracing::warn!(reason, "Clerk's keys could not be read");
            TokenError::KeysUnavailable(reason)
        })?;
        *last = Some(Attempt { at: now, has_failed: false });
        let mut known = self.known.write();
        *known = Known { keys, at: Some(now) };
        Ok(())
    }

    async fn read(&self) -> Result<HashMap<String, Arc<PublicKey>>, String> {
        let told = |error: reqwest::Error| error.without_url().to_string();
        let mut response = self.client.get(&self.url).send().await.map_err(told)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("the answer was {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(format!("the answer has more than {MAX_BYTES} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        parse(&body)
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    n: String,
    e: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
}

/// The keys of a set that verify RS256; other keys are ignored. A set without such a key is an
/// error, because accepting it would lock out all users.
fn parse(body: &[u8]) -> Result<HashMap<String, Arc<PublicKey>>, String> {
    let set: KeySet = serde_json::from_slice(body).map_err(|_| "it is no key set".to_owned())?;
    let keys: HashMap<_, _> = set.keys.into_iter().take(MAX_KEYS).filter_map(usable).collect();
    if keys.is_empty() { Err("it holds no key for RS256".to_owned()) } else { Ok(keys) }
}

fn usable(jwk: Value) -> Option<(String, Arc<PublicKey>)> {
    let jwk: Jwk = serde_json::from_value(jwk).ok()?;
    let is_for_us = jwk.kty == "RSA"
        && jwk.alg.as_deref().is_none_or(|alg| alg == "RS256")
        && jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
    let number = |text: &str| -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
    };
    let (modulus, exponent) = (number(&jwk.n)?, number(&jwk.e)?);
    (is_for_us && MODULUS.contains(&modulus.len()))
        .then(|| (jwk.kid, Arc::new(PublicKey { modulus, exponent })))
}
