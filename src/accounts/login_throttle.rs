//! Guessing at passwords: failed sign-ins are counted for each account and network, and for each account over all
//! networks from which nobody has signed in to it. A stranger who guesses shuts himself out, and not whom he guesses at.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use moka::sync::Cache;

use super::error::{CredentialError, SignInFailure};
use crate::clock::Clock;
use crate::configuration::LimitsSettings;
use crate::limits::{Limiter, RateLimitState};

/// A network from which somebody has signed in is theirs for so long.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
const KNOWN_NETWORKS: u64 = 100_000;

/// An account, whether there is one or not: the keyed hash of its address.
pub(crate) type Account = Vec<u8>;

/// What is known of those who sign in. Without buckets nobody is counted.
pub struct LoginThrottle(Option<Buckets>);

struct Buckets {
    by_network: Limiter<(Account, IpAddr)>,
    by_strangers: Limiter<Account>,
    known: Cache<(Account, IpAddr), ()>,
}

/// One attempt, taken out of its buckets before anybody knows how it ends.
struct Attempt {
    key: (Account, IpAddr),
    is_strangers: bool,
}

/// Why an attempt may not be made.
enum Refused {
    /// Too many from there have failed.
    Network(RateLimitState),
    /// Too many of strangers have failed, and nobody here remembers this network.
    Strangers(RateLimitState),
}

impl LoginThrottle {
    /// With the buckets of these settings.
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
            // What was taken for the network stays taken: whoever goes on asking is soon turned away by that alone.
            buckets.by_strangers.take(key.0.clone()).map_err(Refused::Strangers)?;
        }
        Ok(Some(Attempt { key, is_strangers }))
    }

    /// Something that proves who somebody is, and is counted where it fails. `is_at_home`: has whoever this is been let in from
    /// this network before? Asked only where strangers guess.
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
            // While strangers guess, whoever is at home in the account gets in: this process may only have forgotten them.
            Err(Refused::Strangers(_)) if is_at_home.await => {
                self.recognize(account.clone(), network)
            }
            Err(Refused::Network(state) | Refused::Strangers(state)) => {
                return Err(CredentialError::TooManyAttempts(state).into());
            }
        };
        let result = proof.await;
        let Some(attempt) = attempt else { return result };
        // A wrong guess stays counted. Whoever was right is no stranger any more, if the address is theirs.
        if result.as_ref().is_ok_and(is_theirs) {
            self.know(account, network);
        }
        if !result.as_ref().is_err_and(E::is_wrong_guess) {
            self.forgive(attempt);
        }
        result
    }

    /// Lets an attempt go on that was refused as a stranger's, and was not.
    fn recognize(&self, account: Account, network: IpAddr) -> Option<Attempt> {
        self.0.as_ref()?.known.insert((account.clone(), network), ());
        Some(Attempt { key: (account, network), is_strangers: false })
    }

    /// Whoever comes from there is no stranger to the account.
    fn know(&self, account: Account, network: IpAddr) {
        if let Some(buckets) = &self.0 {
            buckets.known.insert((account, network), ());
        }
    }

    /// It has not failed, or not for what was guessed.
    fn forgive(&self, attempt: Attempt) {
        let Some(buckets) = &self.0 else { return };
        buckets.by_network.give_back(&attempt.key);
        if attempt.is_strangers {
            buckets.by_strangers.give_back(&attempt.key.0);
        }
    }
}
