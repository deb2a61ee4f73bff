//! Password hashing with Argon2id (RFC 9106), outside the async threads and with a bounded number
//! of permits. A flood of sign-ins waits in a short queue and is then refused; other requests keep
//! their processor time and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::digest;
use secrecy::{ExposeSecret, SecretString};
use zxcvbn::{Score, zxcvbn};

use crate::configuration::Argon2Settings;
use crate::limits::{ComputePermits, NoComputePermit};

/// Number of characters of a password, and of each word about its owner, that are used for the
/// strength estimate. The estimate tries every substitution of every part: in the worst case it
/// takes 0.1 s for 40 characters, about as long as a hash, and more than 1 s for 100.
const ESTIMATED_CHARS: usize = 40;

/// Reason why a password could not be hashed or compared.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// No permit was free in time; the client can try again soon.
    #[error("too many passwords are being checked at once")]
    Busy,
    /// The new password is too easy to guess.
    #[error("the password is too common")]
    TooCommon,
    /// The cost parameters are out of range, or a stored hash is not a PHC string.
    #[error("password hashing failed: {0}")]
    Broken(String),
}

/// Sixteen bits of a password's digest, to see that two passwords differ. An attacker gains almost
/// nothing from them: one guess in 65,536 matches.
pub fn fingerprint(password: &SecretString) -> u16 {
    let digest = digest::digest(&digest::SHA256, password.expose_secret().as_bytes());
    digest.as_ref().iter().take(2).fold(0, |bits, byte| bits << 8 | u16::from(*byte))
}

impl From<NoComputePermit> for PasswordError {
    fn from(error: NoComputePermit) -> Self {
        match error {
            NoComputePermit::Busy => Self::Busy,
            NoComputePermit::Died(reason) => Self::Broken(reason),
        }
    }
}

/// True if an attacker who knows these words about the owner would try the password among the first
/// million guesses. Takes milliseconds: do not call it on async threads.
pub fn is_common(password: &str, about: &[&str]) -> bool {
    let about: Vec<&str> = about.iter().map(|word| beginning(word)).collect();
    zxcvbn(beginning(password), &about).score() < Score::Two
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(ESTIMATED_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// Hashes and verifies passwords, a few at a time.
pub struct Passwords {
    hasher: Argon2<'static>,
    permits: ComputePermits,
    /// Hash that a password is compared with if there is no account, so that both cases cost the
    /// same.
    decoy: String,
    hashes: Arc<AtomicU64>,
}

impl Passwords {
    /// Creates a hasher with this cost. Hashes one random text as the decoy.
    pub fn new(cost: &Argon2Settings) -> Result<Self, PasswordError> {
        let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, None)
            .map_err(|e| PasswordError::Broken(e.to_string()))?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = hash_with(&hasher, &uuid::Uuid::new_v4().to_string())?;
        Ok(Self { hasher, permits: ComputePermits::default(), decoy, hashes: Arc::default() })
    }

    /// Hashes `password`; the result is a PHC string.
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        let hasher = self.hasher.clone();
        self.in_turn(move || hash_with(&hasher, password.expose_secret())).await
    }

    /// Hashes a new password of an account. `about` contains words about its owner, which the
    /// password must not be based on.
    ///
    /// # Errors
    ///
    /// [`PasswordError::TooCommon`], before anything is hashed.
    pub async fn hash_new(
        &self,
        password: SecretString,
        about: Vec<String>,
    ) -> Result<String, PasswordError> {
        let candidate = password.clone();
        let estimate = move || {
            let about: Vec<&str> = about.iter().map(String::as_str).collect();
            is_common(candidate.expose_secret(), &about)
        };
        if self.permits.run(estimate).await? {
            return Err(PasswordError::TooCommon);
        }
        self.hash(password).await
    }

    /// True if `password` matches the `stored` hash. Without a `stored` hash it returns false after
    /// the same amount of work.
    pub async fn verify(
        &self,
        password: SecretString,
        stored: Option<String>,
    ) -> Result<bool, PasswordError> {
        let hasher = self.hasher.clone();
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.clone());
        let matches = self
            .in_turn(move || {
                let hash =
                    PasswordHash::new(&stored).map_err(|e| PasswordError::Broken(e.to_string()))?;
                Ok(hasher.verify_password(password.expose_secret().as_bytes(), &hash).is_ok())
            })
            .await?;
        Ok(matches && known)
    }

    /// True if the hash has another cost than the settings. False for a text that is not a PHC
    /// string.
    pub fn is_outdated(&self, stored: &str) -> bool {
        let Ok(hash) = PasswordHash::new(stored) else { return false };
        let today = self.hasher.params();
        Params::try_from(&hash).is_ok_and(|params| {
            (params.m_cost(), params.t_cost(), params.p_cost())
                != (today.m_cost(), today.t_cost(), today.p_cost())
        })
    }

    /// Number of hashes computed since the start, for any purpose.
    pub fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let hashes = self.hashes.clone();
        let counted = move || {
            hashes.fetch_add(1, Ordering::Relaxed);
            work()
        };
        self.permits.run(counted).await?
    }
}

fn hash_with(hasher: &Argon2<'_>, password: &str) -> Result<String, PasswordError> {
    hasher
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|e| PasswordError::Broken(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Passwords {
        Passwords::new(&Argon2Settings { memory_kib: 64, iterations: 1, parallelism: 1 }).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_matches_and_nobody_matches_the_decoy() {
        let passwords = cheap();
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        assert!(passwords.verify("correct horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("correct horsE".into(), Some(stored)).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap());
    }

    #[test]
    fn only_the_beginning_is_estimated() {
        let strong = "kT9#vLq2!xWz8@bNm4$cRd6%fGh1^jKl3&pSo5*u";
        assert_eq!(strong.chars().count(), ESTIMATED_CHARS);
        assert!(!is_common(&format!("{strong}{}", "4@8({[<369!1|70$5+72%".repeat(5)), &[]));
        assert!(is_common(&"ä".repeat(128), &[]));
        assert!(
            is_common("gracechapel", &[&format!("gracechapel{}", "!".repeat(1000))])
                == is_common("gracechapel", &[])
        );
    }

    #[tokio::test]
    async fn a_new_password_that_anybody_would_try_is_not_hashed() {
        let passwords = cheap();
        let new = |text: &str, about: &[&str]| {
            passwords.hash_new(text.into(), about.iter().map(|word| (*word).to_owned()).collect())
        };
        for common in ["password123", &"password".repeat(16)] {
            assert!(matches!(new(common, &[]).await, Err(PasswordError::TooCommon)), "{common}");
        }
        let own = new("gracechapel1", &["gracechapel"]).await;
        assert!(matches!(own, Err(PasswordError::TooCommon)));
        assert!(new("correct horse battery", &[]).await.is_ok());
    }
}
