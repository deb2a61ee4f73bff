//! Limits for failed sign-ins: one per account and network, and one per account for all unknown
//! networks. Failed sign-ins lock the attacker's network, not the account.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use moka::sync::Cache;

use super::error::{CredentialError, SignInFailure};
use crate::clock::Clock;
use crate::configuration::LimitsSettings;
use crate::limits::{Limiter, RateLimitState};

/// A network from which a user has signed in counts as known for this long.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
const KNOWN_NETWORKS: u64 = 100_000;

/// Keyed hash of an email address, whether or not it has an account.
pub(crate) type Account = Vec<u8>;

/// Counters of failed sign-ins and the known networks. `None` if rate limits are disabled.
pub struct LoginThrottle(Option<Buckets>);

struct Buckets {
    by_network: Limiter<(Account, IpAddr)>,
    by_strangers: Limiter<Account>,
    known: Cache<(Account, IpAddr), ()>,
}

/// An attempt that was counted before its outcome is known.
struct Attempt {
    key: (Account, IpAddr),
    is_strangers: bool,
}

/// Reason why an attempt is refused.
enum Refused {
    /// Too many failed attempts from this network.
    Network(RateLimitState),
    /// Too many failed attempts from unknown networks, and this network is unknown to this process.
    Strangers(RateLimitState),
}

impl LoginThrottle {
    /// Creates the throttle with the limits of these settings.
    pub fn new(settings: &LimitsSettings, clock: &Clock) -> Self {
        Self(settings.enabled.then(|| Buckets {
            by_network: Limiter::new(settings.login, clock.clone()),
            by_strangers: Limiter::new(settings.account, clock.clone()),
            known: Cache::builder().max_capacity(KNOWN_NETWORKS).time_to_live(KNOWN_FOR).build(),
        }))
    }

    fn begin(&self, account: Account, network: IpAddr) -> Result<Option<Attempt>, Refused> {
        let Some(buckets) = &self.0 else { return Ok(None) };
        let key = (account, network);
        buckets.by_network.take(key.clone()).map_err(Refused::Network)?;
        let is_strangers = !buckets.known.contains_key(&key);
        if is_strangers {
            // The attempt stays counted for the network, so that a client that repeats its request
            // is soon refused by that limit alone.
            buckets.by_strangers.take(key.0.clone()).map_err(Refused::Strangers)?;
        }
        Ok(Some(Attempt { key, is_strangers }))
    }

    /// Runs a proof of identity and counts it if it fails. `is_at_home`: has this account signed in
    /// from this network before? It is awaited only if the limit of unknown networks is exhausted.
    /// `is_theirs`: is the address of the proven account verified?
    pub async fn counted<T, E: SignInFailure>(
        &self,
        account: Account,
        network: IpAddr,
        is_at_home: impl Future<Output = bool>,
        is_theirs: impl FnOnce(&T) -> bool,
        proof: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let attempt = match self.begin(account.clone(), network) {
            Ok(attempt) => attempt,
            // During an attack, a user from a known network still gets in. This process may have no
            // record of that network.
            Err(Refused::Strangers(_)) if is_at_home.await => {
                self.recognize(account.clone(), network)
            }
            Err(Refused::Network(state) | Refused::Strangers(state)) => {
                return Err(CredentialError::TooManyAttempts(state).into());
            }
        };
        let result = proof.await;
        let Some(attempt) = attempt else { return result };
        // A wrong guess stays counted. After a success, the network counts as known if the address
        // is verified.
        if result.as_ref().is_ok_and(is_theirs) {
            self.know(account, network);
        }
        if !result.as_ref().is_err_and(E::is_wrong_guess) {
            self.forgive(attempt);
        }
        result
    }

    /// Admits an attempt that was refused as unknown, from a network that turned out to be known.
    fn recognize(&self, account: Account, network: IpAddr) -> Option<Attempt> {
        self.0.as_ref()?.known.insert((account.clone(), network), ());
        Some(Attempt { key: (account, network), is_strangers: false })
    }

    /// Records the network as known for the account.
    fn know(&self, account: Account, network: IpAddr) {
        if let Some(buckets) = &self.0 {
            buckets.known.insert((account, network), ());
        }
    }

    /// Removes the attempt from the counters: it succeeded, or failed for another reason than a
    /// wrong guess.
    fn forgive(&self, attempt: Attempt) {
        let Some(buckets) = &self.0 else { return };
        buckets.by_network.give_back(&attempt.key);
        if attempt.is_strangers {
            buckets.by_strangers.give_back(&attempt.key.0);
        }
    }
}
