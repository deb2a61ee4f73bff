//! Rate limits: one bucket for each key, refilled continuously (GCRA, the leaky bucket as a meter
//! of ITU-T I.371). Each process has its own buckets, in memory of bounded size.

mod pool;
mod compute_permits;

use std::hash::Hash;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use serde::Deserialize;

pub use compute_permits::{ComputePermits, NoComputePermit};
pub use pool::{Exhausted, Held, Pool};

use crate::clock::Clock;

/// Number of buckets that are kept. Above it, the least used buckets are removed.
const REMEMBERED: u64 = 100_000;

/// A rate, such as `10/15m`: 10 at once if there were none before, then one each time a tenth of
/// the 15 minutes has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    count: u32,
    period: Duration,
}

/// The text is not a valid rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number and a time, such as `10/15m`")]
pub struct NoRate;

impl Rate {
    /// One per second.
    pub const ONE_A_SECOND: Self = Self { count: 1, period: Duration::from_secs(1) };

    /// Accepts at least one in a period longer than zero, and at most one per microsecond.
    pub fn new(count: u32, period: Duration) -> Result<Self, NoRate> {
        let is_possible = count >= 1
            && period <= Duration::from_secs(366 * 24 * 3600)
            && period.as_micros() >= u128::from(count);
        if is_possible { Ok(Self { count, period }) } else { Err(NoRate) }
    }

    /// Number of permitted uses in a period.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Length of the period.
    pub fn period(self) -> Duration {
        self.period
    }

    fn period_us(self) -> i64 {
        i64::try_from(self.period.as_micros()).unwrap_or(i64::MAX)
    }

    fn one_us(self) -> i64 {
        self.period_us() / i64::from(self.count)
    }
}

impl FromStr for Rate {
    type Err = NoRate;

    fn from_str(text: &str) -> Result<Self, NoRate> {
        let (count, period) = text.split_once('/').ok_or(NoRate)?;
        let count = count.trim().parse().map_err(|_| NoRate)?;
        let period = humantime_serde::re::humantime::parse_duration(period.trim());
        Self::new(count, period.map_err(|_| NoRate)?)
    }
}

impl TryFrom<String> for Rate {
    type Error = NoRate;

    fn try_from(text: String) -> Result<Self, NoRate> {
        text.parse()
    }
}

/// State of a bucket after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitState {
    /// Size of the bucket, and the time in which it fills.
    pub rate: Rate,
    /// Number of uses that are possible at once.
    pub remaining: u32,
    /// Time until the bucket is full again.
    pub full_in: Duration,
    /// Time until the next use is possible; zero if it is possible now.
    pub wait: Duration,
}

/// Buckets of one kind, one for each key. Clones share them.
#[derive(Clone)]
pub struct Limiter<K> {
    rate: Rate,
    /// Time when the bucket will be full, in microseconds since 1970.
    buckets: Cache<K, Arc<AtomicI64>>,
    clock: Clock,
}

impl<K: Hash + Eq + Send + Sync + 'static> Limiter<K> {
    /// Creates a limiter whose buckets are all full.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        let buckets = Cache::builder().max_capacity(REMEMBERED).time_to_idle(rate.period).build();
        Self { rate, buckets, clock }
    }

    /// Takes one from the bucket. `Err`: the bucket is empty, and nothing was taken.
    pub fn take(&self, key: K) -> Result<RateLimitState, RateLimitState> {
        let (now, one) = (self.clock.now_us(), self.rate.one_us());
        let bucket = match self.buckets.get(&key) {
            Some(bucket) => bucket,
            // `get_with` allocates even if the bucket exists.
            None => self.buckets.get_with(key, || Arc::new(AtomicI64::new(now))),
        };
        let mut seen = bucket.load(Ordering::Relaxed);
        loop {
            // A bucket cannot hold more than its size. The upper bound limits the wait to one
            // period after the clock was set back.
            let before = seen.clamp(now, now + self.rate.period_us());
            let fits = before + one - now <= self.rate.period_us();
            let after = if fits { before + one } else { before };
            match bucket.compare_exchange_weak(seen, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) if fits => return Ok(self.standing(after, now)),
                Ok(_) => return Err(self.standing(after, now)),
                Err(changed) => seen = changed,
            }
        }
    }

    /// Puts one back, for a use that should not count.
    pub fn give_back(&self, key: &K) {
        if let Some(bucket) = self.buckets.get(key) {
            bucket.fetch_sub(self.rate.one_us(), Ordering::Relaxed);
        }
    }

    fn standing(&self, full_at: i64, now: i64) -> RateLimitState {
        let (one, missing) = (self.rate.one_us(), full_at - now);
        let room = self.rate.period_us() - missing;
        let micros = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
        RateLimitState {
            rate: self.rate,
            remaining: u32::try_from(room / one).unwrap_or(u32::MAX).min(self.rate.count),
            full_in: micros(missing),
            wait: micros(one - room),
        }
    }
}

/// The network of an address: the /64 of an IPv6 address, because one client has all its addresses;
/// an IPv4 address itself.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use rstest::rstest;

    #[rstest]
    #[case("10/15m", Some((10, 900)))]
    #[case(" 1 / 1h ", Some((1, 3600)))]
    #[case("0/1m", None)]
    #[case("1/0s", None)]
    #[case("10", None)]
    #[case("10/", None)]
    #[case("-1/1m", None)]
    #[case("2000000/1s", None)]
    #[case("1/1000000y", None)]
    fn a_rate_is_a_number_and_a_time(#[case] text: &str, #[case] expected: Option<(u32, u64)>) {
        let rate = text.parse::<Rate>().ok();
        assert_eq!(rate.map(|rate| (rate.count(), rate.period().as_secs())), expected);
    }

    #[test]
    fn a_bucket_is_emptied_at_once_and_fills_by_itself() {
        let clock = Clock::system();
        let limiter = Limiter::new("3/30s".parse().unwrap(), clock.clone());
        let remaining: Vec<_> = (0..3).map(|_| limiter.take("a").unwrap().remaining).collect();
        assert_eq!(remaining, [2, 1, 0]);
        let refused = limiter.take("a").unwrap_err();
        assert_eq!(refused.remaining, 0);
        assert!(refused.wait > Duration::from_secs(9) && refused.wait <= Duration::from_secs(10));
        assert!(refused.full_in > Duration::from_secs(29));
        // Other keys are not affected, and a refused use takes nothing.
        assert_eq!(limiter.take("b").unwrap().remaining, 2);
        clock.advance(TimeDelta::seconds(10));
        assert_eq!(limiter.take("a").unwrap().remaining, 0);
        limiter.take("a").unwrap_err();
        clock.advance(TimeDelta::hours(1));
        assert_eq!(limiter.take("a").unwrap().remaining, 2);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_bucket_overflows() {
        let limiter = Limiter::new("2/1m".parse().unwrap(), Clock::system());
        limiter.take(1).unwrap();
        limiter.take(1).unwrap();
        limiter.give_back(&1);
        assert_eq!(limiter.take(1).unwrap().remaining, 0);
        for _ in 0..5 {
            limiter.give_back(&1);
            limiter.give_back(&2);
        }
        assert_eq!(limiter.take(1).unwrap().remaining, 1);
        assert_eq!(limiter.take(2).unwrap().remaining, 1);
    }

    #[test]
    fn a_clock_that_is_put_back_shuts_nobody_out() {
        let clock = Clock::system();
        let limiter = Limiter::new("1/1m".parse().unwrap(), clock.clone());
        limiter.take(()).unwrap();
        clock.advance(TimeDelta::days(-1));
        let refused = limiter.take(()).unwrap_err();
        assert!(refused.wait <= Duration::from_secs(60));
        clock.advance(TimeDelta::minutes(1));
        limiter.take(()).unwrap();
    }

    #[test]
    fn of_many_at_once_no_more_pass_than_fit() {
        let limiter = Limiter::new("100/1h".parse().unwrap(), Clock::system());
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..100).filter(|_| limiter.take("all").is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 100);
    }

    #[rstest]
    #[case("192.0.2.7", "192.0.2.7")]
    #[case("::ffff:192.0.2.7", "192.0.2.7")]
    #[case("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")]
    fn an_ipv6_network_counts_as_one(#[case] address: IpAddr, #[case] network: IpAddr) {
        assert_eq!(network_of(address), network);
    }
}
