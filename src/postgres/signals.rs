//! What one connection tells the others: that connections to the server died, that sessions are outdated, and that
//! connections are being opened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A server that refuses writes has its pool renewed at most so often.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

/// Opening connections for pools that grow takes at most one part of the time in so many.
const GROWTH_SHARE: u32 = 4;
/// Whatever an opening takes, one follows another no sooner and need not wait longer.
const GROWTH_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// What an opening is thought to take until the first has been measured.
const EXPECTED_OPENING: Duration = Duration::from_millis(4);
/// A caller that has waited for so long does not give way to first connections any more.
const GIVES_WAY_FOR: Duration = Duration::from_millis(100);

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Shared by all pools of one server.
#[derive(Debug)]
pub struct ServerSignals {
    begun: Instant,
    /// Connections that died, as a count: one that was last used at another count is asked for a sign of life.
    deaths: AtomicU64,
    /// When a pool may grow again; in nanoseconds since `begun`, as the following.
    next_growth: AtomicU64,
    /// Until when first connections have precedence.
    first_until: AtomicU64,
    /// What an opening takes on average.
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

    /// A connection died that was last known to live at this count. Those that die together count once.
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

    /// A connection was opened in this time.
    pub(super) fn opened_in(&self, time: Duration) {
        let average = self.opening.load(Ordering::Relaxed);
        self.opening.store(average - average / 4 + nanos(time) / 4, Ordering::Relaxed);
    }

    /// The first connection of a pool is being opened: pools that have one wait.
    pub(super) fn opens_first(&self) {
        self.first_until.fetch_max(self.now() + self.pause(), Ordering::AcqRel);
    }

    /// May a pool grow whose caller has waited for so long? If so, the next has to wait.
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

/// Counts how often the sessions of one pool were given up because of what they remember. A session that was opened at
/// another count is not lent.
#[derive(Debug)]
pub struct Renewals {
    begun: Instant,
    count: AtomicU64,
    /// In nanoseconds since `begun`.
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

    /// A session that was opened at this count is outdated, and all of its age with it.
    pub(super) fn renew(&self, seen: u64) {
        let renewed =
            self.count.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Acquire);
        if renewed.is_ok() {
            let now = self.begun.elapsed();
            self.not_before.store(nanos(now + RENEWAL_PAUSE), Ordering::Release);
        }
    }

    /// Is a session of this count worth replacing, although its successor may be no better?
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
