//! How often somebody may do something: one bucket for each of them that fills by itself (GCRA, the leaky bucket as a
//! meter of ITU-T I.371). Buckets are few numbers in a memory of bounded size, in this process alone.

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

/// Of the buckets that were not full, so many are remembered; then the least used make room.
const REMEMBERED: u64 = 100_000;

/// So many in so long, such as `10/15m`: all of them at once if nothing came before, and then one after the other as time
/// goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    count: u32,
    period: Duration,
}

/// The text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number and a time, such as `10/15m`")]
pub struct NoRate;

impl Rate {
    /// One a second.
    pub const ONE_A_SECOND: Self = Self { count: 1, period: Duration::from_secs(1) };

    /// At least one in a time longer than zero, and at most one in a microsecond.
    pub fn new(count: u32, period: Duration) -> Result<Self, NoRate> {
        let is_possible = count >= 1
            && period <= Duration::from_secs(366 * 24 * 3600)
            && period.as_micros() >= u128::from(count);
        if is_possible { Ok(Self { count, period }) } else { Err(NoRate) }
    }

    /// How many.
    pub fn count(self) -> u32 {
        self.count
    }

    /// In how long.
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

/// What is left in somebody's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitState {
    /// What it holds when it is full, and how long it takes to fill.
    pub rate: Rate,
    /// How often they may go on at once.
    pub remaining: u32,
    /// Until it is full again.
    pub full_in: Duration,
    /// Until they may go on; zero where they may now.
    pub wait: Duration,
}

/// Buckets of one kind, one for each key. Clones share them.
#[derive(Clone)]
pub struct Limiter<K> {
    rate: Rate,
    /// When the bucket will be full, in microseconds since 1970.
    buckets: Cache<K, Arc<AtomicI64>>,
    clock: Clock,
}

impl<K: Hash + Eq + Send + Sync + 'static> Limiter<K> {
    /// Every bucket is full at first.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        let buckets = Cache::builder().max_capacity(REMEMBERED).time_to_idle(rate.period).build();
        Self { rate, buckets, clock }
    }

    /// Takes one out of the bucket; `Err`: it is empty, and nothing was taken.
    pub fn take(&self, key: K) -> Result<RateLimitState, RateLimitState> {
        let (now, one) = (self.clock.now_us(), self.rate.one_us());
        let bucket = match self.buckets.get(&key) {
            Some(bucket) => bucket,
            // Costs an allocation, also where there is a bucket.
            None => self.buckets.get_with(key, || Arc::new(AtomicI64::new(now))),
        };
        let mut seen = bucket.load(Ordering::Relaxed);
        loop {
            // A full bucket gets no fuller. A clock that was put back shuts nobody out for longer than a period.
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

    /// Puts back what was taken for something that is not counted after all.
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

/// Whoever has an IPv6 address has a whole network of them.
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
        // Nobody else pays for it, and being refused costs nothing more.
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
