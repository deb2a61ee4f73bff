//! Password hashing with Argon2id (RFC 9106), off the async threads and bounded: a flood of logins waits in a
//! short line and is then turned away, and everything else keeps its processor and its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::digest;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use zxcvbn::{Score, zxcvbn};

use crate::configuration::Argon2Settings;

/// How long a caller waits for its turn to hash.
const TURN_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a password could not be hashed or compared.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many hashes are under way; try again soon.
    #[error("too many passwords are being checked at once")]
    Busy,
    /// The cost parameters are out of range, or a stored hash is not a PHC string.
    #[error("password hashing failed: {0}")]
    Broken(String),
}

/// Sixteen bits of a password, to see that two are not the same one. Whoever gets hold of them has gained next to nothing:
/// one guess in 65,536 passes.
pub fn glimpse(password: &SecretString) -> u16 {
    let digest = digest::digest(&digest::SHA256, password.expose_secret().as_bytes());
    digest.as_ref().iter().take(2).fold(0, |bits, byte| bits << 8 | u16::from(*byte))
}

/// Is it among the first million that somebody would try who knows these words about its owner?
pub fn is_common(password: &str, about: &[&str]) -> bool {
    zxcvbn(password, about).score() < Score::Two
}

/// Hashes and verifies passwords, at most a few at a time.
pub struct Passwords {
    hasher: Argon2<'static>,
    turns: Arc<Semaphore>,
    /// What a password is compared with when there is no account, so that both cases cost the same.
    decoy: String,
    hashes: AtomicU64,
}

impl Passwords {
    /// Prepares a hasher with this cost; one hash of a random text is made as the decoy.
    pub fn new(cost: &Argon2Settings) -> Result<Self, PasswordError> {
        let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, None)
            .map_err(|e| PasswordError::Broken(e.to_string()))?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = hash_with(&hasher, &uuid::Uuid::new_v4().to_string())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            hasher,
            turns: Arc::new(Semaphore::new(cores)),
            decoy,
            hashes: AtomicU64::new(0),
        })
    }

    /// The PHC string of `password`.
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        let hasher = self.hasher.clone();
        self.in_turn(move || hash_with(&hasher, password.expose_secret())).await
    }

    /// Does `password` match? Without a `stored` hash the answer is no, after the same amount of work.
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

    /// Does a hash cost less, or more, than the settings say? Only one that we have made.
    pub fn is_outdated(&self, stored: &str) -> bool {
        let Ok(hash) = PasswordHash::new(stored) else { return false };
        let today = self.hasher.params();
        Params::try_from(&hash).is_ok_and(|params| {
            (params.m_cost(), params.t_cost(), params.p_cost())
                != (today.m_cost(), today.t_cost(), today.p_cost())
        })
    }

    /// How many hashes have been computed, for whatever reason.
    pub fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turns.clone().acquire_owned())
            .await
            .map_err(|_| PasswordError::Busy)?
            .map_err(|_| PasswordError::Busy)?;
        self.hashes.fetch_add(1, Ordering::Relaxed);
        // The turn moves into the work: a caller that gives up does not let a further hash start beside it.
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
        .map_err(|e| PasswordError::Broken(e.to_string()))?
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

    #[tokio::test(start_paused = true)]
    async fn a_line_that_does_not_move_turns_callers_away() {
        let passwords = cheap();
        let cores = passwords.turns.available_permits() as u32;
        let _all = passwords.turns.acquire_many(cores).await.unwrap();
        let refused = passwords.verify("x".into(), None).await;
        assert!(matches!(refused, Err(PasswordError::Busy)));
    }
}
