//! Signals between the connections to one server: dead connections, outdated sessions, and
//! connections that are being opened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The pool of a server that refuses writes is renewed at most this often.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

/// Pools that grow open connections during at most one part in this many of the time.
const GROWTH_SHARE: u32 = 4;
/// The shortest and the longest pause between two openings, whatever an opening takes.
const GROWTH_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// The assumed time of an opening until the first one has been measured.
const EXPECTED_OPENING: Duration = Duration::from_millis(4);
/// A caller that has waited this long does not give way to first connections any more.
const GIVES_WAY_FOR: Duration = Duration::from_millis(100);

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Signals that all pools of one server share.
#[derive(Debug)]
pub struct ServerSignals {
    begun: Instant,
    /// A count of connection deaths. A connection that was last used at another count is pinged
    /// before it is used.
    deaths: AtomicU64,
    /// When a pool may grow again, in nanoseconds since `begun`. The next fields are in nanoseconds
    /// too.
    next_growth: AtomicU64,
    /// Until when first connections have precedence.
    first_until: AtomicU64,
    /// The average time of an opening.
    opening: AtomicU64,
}

impl Default for ServerSignals {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            deaths: AtomicU64::new(0),
            next_growth: AtomicU64::new(0),
            first_until: AtomicU64::new(0),
            opening: AtomicU64::new(nanos(EXPECTED_OPENING)),
        }
    }
}

impl ServerSignals {
    pub(super) fn deaths(&self) -> u64 {
        self.deaths.load(Ordering::Acquire)
    }

    /// Records the death of a connection that was last known to be alive at this count. Connections
    /// that die together count once.
    pub(super) fn died(&self, seen: u64) {
        let _ = self.deaths.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Acquire);
    }

    fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }

    fn pause(&self) -> u64 {
        let opening = Duration::from_nanos(self.opening.load(Ordering::Relaxed));
        nanos((opening * GROWTH_SHARE).clamp(GROWTH_PAUSE.0, GROWTH_PAUSE.1))
    }

    /// Records that a connection was opened in this time.
    pub(super) fn opened_in(&self, time: Duration) {
        let average = self.opening.load(Ordering::Relaxed);
        self.opening.store(average - average / 4 + nanos(time) / 4, Ordering::Relaxed);
    }

    /// Records that the first connection of a pool is being opened. Pools that have a connection
    /// already wait.
    pub(super) fn opens_first(&self) {
        self.first_until.fetch_max(self.now() + self.pause(), Ordering::AcqRel);
    }

    /// True if a pool may grow whose caller has waited this long. If it is true, the next pool has
    /// to wait.
    pub(super) fn may_grow(&self, waited: Duration) -> bool {
        let now = self.now();
        let next = self.next_growth.load(Ordering::Acquire);
        let gives_way = waited < GIVES_WAY_FOR && now < self.first_until.load(Ordering::Acquire);
        if now < next || gives_way {
            return false;
        }
        let after = now + self.pause();
        self.next_growth.compare_exchange(next, after, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Counts how often the sessions of one pool were discarded because their cached state was
/// outdated. A session that was opened at another count is not given to a caller.
#[derive(Debug)]
pub struct Renewals {
    begun: Instant,
    count: AtomicU64,
    /// Nanoseconds since `begun`.
    not_before: AtomicU64,
}

impl Default for Renewals {
    fn default() -> Self {
        Self { begun: Instant::now(), count: AtomicU64::new(0), not_before: AtomicU64::new(0) }
    }
}

impl Renewals {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Discards a session that was opened at this count, and all sessions of the same count.
    pub(super) fn renew(&self, seen: u64) {
        let renewed =
            self.count.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Acquire);
        if renewed.is_ok() {
            let now = self.begun.elapsed();
            self.not_before.store(nanos(now + RENEWAL_PAUSE), Ordering::Release);
        }
    }

    /// True if a session of this count is worth replacing, although its successor may be no better.
    pub(super) fn is_due(&self, seen: u64) -> bool {
        seen != self.count()
            || nanos(self.begun.elapsed()) >= self.not_before.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_die_together_count_once() {
        let signals = ServerSignals::default();
        signals.died(0);
        signals.died(0);
        assert_eq!(signals.deaths(), 1);
        signals.died(1);
        assert_eq!(signals.deaths(), 2);
    }

    #[test]
    fn of_all_pools_of_a_server_one_grows_at_a_time() {
        let signals = ServerSignals::default();
        assert!(signals.may_grow(Duration::ZERO));
        assert!(!signals.may_grow(Duration::from_secs(9)));
        signals.next_growth.store(0, Ordering::Release);
        assert!(signals.may_grow(Duration::ZERO));
    }

    #[test]
    fn the_slower_openings_are_the_longer_pools_wait_before_they_grow() {
        let signals = ServerSignals::default();
        for _ in 0..50 {
            signals.opened_in(Duration::from_millis(20));
        }
        assert!(signals.pause() > nanos(Duration::from_millis(75)));
        for _ in 0..50 {
            signals.opened_in(Duration::from_secs(3));
        }
        assert_eq!(signals.pause(), nanos(GROWTH_PAUSE.1));
    }

    #[test]
    fn first_connections_have_precedence_until_a_caller_has_waited_for_long() {
        let signals = ServerSignals::default();
        signals.first_until.store(u64::MAX, Ordering::Release);
        assert!(!signals.may_grow(Duration::from_millis(99)));
        assert!(signals.may_grow(GIVES_WAY_FOR));
    }

    #[test]
    fn outdated_sessions_are_renewed_together_and_not_again_at_once() {
        let renewals = Renewals::default();
        assert!(renewals.is_due(0));
        renewals.renew(0);
        renewals.renew(0);
        assert_eq!(renewals.count(), 1);
        assert!(renewals.is_due(0), "it is of yesterday");
        assert!(!renewals.is_due(1), "it was opened just now");
    }
}
