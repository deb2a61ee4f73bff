//! The parts of a saga: steps with both directions as plain data, and why a step can fail.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::context::Context;
use super::step_error::StepError;
use crate::backoff::Backoff;
use crate::identifiers::ServerId;
use crate::registry::runs::provisioning_runs::RunKind;
use crate::registry::runs::run_leases::Made;
use crate::registry::tenants::Status;

/// What a step has done besides its effect. It is recorded in the same statement as the end of the
/// step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StepOutput {
    /// A resource that now exists, or existed already.
    pub made: Option<Made>,
    /// All resources of this kind are gone.
    pub released: Option<&'static str>,
    /// The change of the tenant's status, from the first to the second.
    pub tenant_status: Option<(Status, Status)>,
    /// A run that starts when this step has ended.
    pub follow_up: Option<RunKind>,
}

impl StepOutput {
    pub fn nothing_more() -> Self {
        Self::default()
    }

    pub fn made(kind: &'static str, reference: &str, server_id: Option<ServerId>) -> Self {
        let made = Made { kind, reference: reference.to_owned(), server_id };
        Self { made: Some(made), ..Self::default() }
    }

    pub fn released(kind: &'static str) -> Self {
        Self { released: Some(kind), ..Self::default() }
    }

    pub fn moved(from: Status, to: Status) -> Self {
        Self { tenant_status: Some((from, to)), ..Self::default() }
    }
}

/// When a failed step is tried again, and how long an attempt may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    /// The waits between attempts. The last fifth is random, so that runs that failed together do not
    /// try again together.
    pub backoff: Backoff,
    /// The number of attempts in all. After the last one the run is undone.
    pub attempts: i32,
    /// The time limit of one attempt.
    pub timeout: Duration,
}

impl Retries {
    /// The number of attempts in all, if the operator allows `allowed` for any step.
    pub fn most(&self, allowed: i32) -> i32 {
        self.attempts.min(allowed)
    }

    /// For the registry and the database servers. 30 attempts survive an outage of a good ten
    /// minutes.
    pub const DATABASE: Self = Self {
        backoff: waits(Duration::from_millis(100), Duration::from_secs(30)),
        attempts: 30,
        timeout: Duration::from_secs(90),
    };
    /// For external services, whose repair may take hours.
    pub const SERVICE: Self = Self {
        backoff: waits(Duration::from_millis(500), Duration::from_secs(5 * 60)),
        attempts: 40,
        timeout: Duration::from_secs(30),
    };

    /// Retries of an undo, which is repeated until it succeeds.
    pub const UNDO: Self = Self {
        backoff: waits(Duration::from_millis(100), Duration::from_secs(60)),
        attempts: i32::MAX,
        timeout: Duration::from_secs(120),
    };

    /// The wait after this many attempts.
    pub fn wait_after(&self, attempts: i32) -> Duration {
        self.backoff.after(attempts.unsigned_abs())
    }
}

const fn waits(first: Duration, longest: Duration) -> Backoff {
    Backoff { first, longest, chance: 0.2 }
}

pub(super) type StepFuture<'a> = BoxFuture<'a, Result<StepOutput, StepError>>;

/// Both directions of a step. Each must be idempotent: applying a step twice, or undoing a step
/// that was not applied, changes nothing more.
pub(super) struct SagaStep {
    pub name: &'static str,
    pub apply: for<'a> fn(&'a Context) -> StepFuture<'a>,
    pub undo: for<'a> fn(&'a Context) -> StepFuture<'a>,
    pub retries: Retries,
}

/// The undo of a step that leaves nothing to undo: its effect lies inside a resource that an
/// earlier step undoes, or is recorded with the end of the step and not before.
pub(super) fn nothing_to_undo(_: &Context) -> StepFuture<'_> {
    async { Ok(StepOutput::nothing_more()) }.boxed()
}

/// A step with that undo.
pub(super) const fn without_undo(
    name: &'static str,
    apply: for<'a> fn(&'a Context) -> StepFuture<'a>,
) -> SagaStep {
    SagaStep { name, apply, undo: nothing_to_undo, retries: Retries::DATABASE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ() {
        let retries = Retries::DATABASE;
        for (attempts, most) in
            [(1, 100), (2, 200), (3, 400), (9, 25_600), (10, 30_000), (1000, 30_000)]
        {
            let wait = retries.wait_after(attempts).as_millis();
            assert!((most * 8 / 10..=most).contains(&wait), "{attempts}: {wait}");
        }
        let waits: std::collections::BTreeSet<_> =
            (0..40).map(|_| retries.wait_after(10)).collect();
        assert!(waits.len() > 10);
    }

    #[test]
    fn an_outage_of_ten_minutes_is_survived() {
        let retries = Retries::DATABASE;
        let all: Duration = (1..retries.attempts).map(|n| retries.wait_after(n)).sum();
        assert!(all * 10 / 8 > Duration::from_secs(600), "{all:?}");
    }
}
