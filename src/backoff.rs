//! Waits between attempts: each twice as long as the one before, up to the longest, and less by chance.

use std::time::Duration;

/// How long to wait after attempts that have failed.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
    /// The part of a wait that chance decides, 0 to 1: what has failed together must not come back together.
    pub chance: f64,
}

impl Backoff {
    /// Waits that chance has no part in.
    pub const fn steady(first: Duration, longest: Duration) -> Self {
        Self { first, longest, chance: 0.0 }
    }

    /// How long to wait after so many failures.
    pub fn after(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20));
        let part = 1.0 - self.chance * (1.0 - fastrand::f64());
        doubled.min(self.longest).mul_f64(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);

    #[rstest]
    #[case(0, 200)]
    #[case(1, 200)]
    #[case(2, 400)]
    #[case(5, 3200)]
    #[case(6, 5000)]
    #[case(u32::MAX, 5000)]
    fn waits_double_up_to_the_longest(#[case] failures: u32, #[case] expected: u64) {
        let wait = Backoff::steady(FIRST, LONGEST).after(failures);
        assert_eq!(wait, Duration::from_millis(expected));
    }

    #[test]
    fn chance_shortens_a_wait_by_its_part_at_most() {
        let backoff = Backoff { first: FIRST, longest: LONGEST, chance: 0.5 };
        let waits: std::collections::BTreeSet<_> = (0..200).map(|_| backoff.after(3)).collect();
        assert!(waits.iter().all(|wait| (FIRST * 2..=FIRST * 4).contains(wait)), "{waits:?}");
        assert!(waits.len() > 100);
    }
}
