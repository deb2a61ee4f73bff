//! When a pool gets another connection: while waiting costs its callers more than another process
//! costs the server.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::signals::ServerSignals;

/// While callers wait no longer than this on average, one connection fewer serves them better. Each
/// connection is a process on the server, and a hundred tenants with one connection each are served
/// a quarter faster than with three (docs/performance.md).
const WORTH_ANOTHER: Duration = Duration::from_micros(100);
/// A caller that has waited this long gets another connection opened, whatever the average: opening
/// takes no longer.
pub(super) const GROW_AFTER: Duration = Duration::from_millis(5);
/// The average covers about this many checkouts.
const REMEMBERED_WAITS: u64 = 64;
/// The number of connections that a pool may have at present, and the average wait of its callers.
pub(super) struct Autosize {
    allowed: AtomicUsize,
    most: usize,
    /// Nanoseconds.
    average_wait: AtomicU64,
    begun: Instant,
    /// Nanoseconds since `begun`.
    last_grown: AtomicU64,
}

impl Autosize {
    pub fn new(most: u32) -> Self {
        Self {
            allowed: AtomicUsize::new(1),
            most: most as usize,
            average_wait: AtomicU64::new(0),
            begun: Instant::now(),
            last_grown: AtomicU64::new(0),
        }
    }

    /// Two concurrent updates may lose one of their waits, which an average tolerates.
    pub fn waited(&self, wait: Duration) {
        let average = self.average_wait.load(Ordering::Relaxed);
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX) / REMEMBERED_WAITS;
        if average > 0 || wait > 0 {
            let rest = average - average.div_ceil(REMEMBERED_WAITS);
            self.average_wait.store(rest.saturating_add(wait), Ordering::Relaxed);
        }
    }

    pub fn is_worth_another(&self) -> bool {
        u128::from(self.average_wait.load(Ordering::Relaxed)) > WORTH_ANOTHER.as_nanos()
    }

    /// Adds a permit for a caller that has waited this long. Growth is not faster than connections
    /// can be opened, and it pauses while other pools of the server grow. Otherwise a moment in
    /// which the whole server stalls would make all callers wait and end with every pool at its
    /// limit.
    pub fn grow(&self, permits: &Semaphore, signals: &ServerSignals, waited: Duration) {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let last = self.last_grown.load(Ordering::Acquire);
        let too_soon = u128::from(now.saturating_sub(last)) < GROW_AFTER.as_nanos();
        let is_full = self.allowed.load(Ordering::Acquire) >= self.most;
        if too_soon || is_full || !signals.may_grow(waited) {
            return;
        }
        let taken =
            self.last_grown.compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire);
        if taken.is_err() {
            return;
        }
        let more = |allowed: usize| (allowed < self.most).then_some(allowed + 1);
        if self.allowed.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok() {
            // A new average begins with each added permit.
            self.average_wait.store(0, Ordering::Relaxed);
            permits.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn autosize(most: u32) -> (Autosize, Semaphore) {
        (Autosize::new(most), Semaphore::new(1))
    }

    /// On a server on which no other pool grows.
    fn grow(autosize: &Autosize, permits: &Semaphore) {
        autosize.grow(permits, &ServerSignals::default(), Duration::ZERO);
    }

    /// The growth limit uses the machine's clock.
    fn rest() {
        let begun = Instant::now();
        while begun.elapsed() <= GROW_AFTER {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_pool_grows_when_its_callers_wait_for_long_on_average() {
        let (autosize, permits) = autosize(3);
        autosize.waited(Duration::from_millis(2));
        assert!(!autosize.is_worth_another(), "one wait is no average");
        for _ in 0..20 {
            autosize.waited(Duration::from_millis(2));
        }
        assert!(autosize.is_worth_another());
        rest();
        grow(&autosize, &permits);
        grow(&autosize, &permits);
        assert!(!autosize.is_worth_another(), "the new turn has not been tried yet");
        assert_eq!(permits.available_permits(), 2);
    }

    #[test]
    fn short_waits_among_many_checkouts_make_no_pool_grow() {
        let (autosize, _) = autosize(3);
        for n in 0..10_000_u64 {
            autosize.waited(Duration::from_micros(if n % 8 == 0 { 400 } else { 0 }));
            assert!(!autosize.is_worth_another());
        }
        for _ in 0..1_000 {
            autosize.waited(Duration::ZERO);
        }
        assert_eq!(autosize.average_wait.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_pool_grows_beyond_its_limit() {
        let (autosize, permits) = autosize(3);
        for _ in 0..5 {
            rest();
            grow(&autosize, &permits);
        }
        assert_eq!(permits.available_permits(), 3);
    }

    #[test]
    fn two_pools_of_a_server_do_not_grow_at_once() {
        let ((first, permits), (second, others)) = (autosize(3), autosize(3));
        let signals = ServerSignals::default();
        rest();
        first.grow(&permits, &signals, Duration::ZERO);
        second.grow(&others, &signals, Duration::ZERO);
        assert_eq!((permits.available_permits(), others.available_permits()), (2, 1));
    }
}
