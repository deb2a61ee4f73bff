//! What a saga is made of: steps with both directions as plain data, and why a step can fail.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::context::Context;
use super::step_error::StepError;
use crate::registry::runs::provisioning_runs::RunKind;
use crate::registry::runs::run_leases::Made;
use crate::registry::tenants::Status;

/// What a step has done beside its effect; recorded in the same statement as its end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StepOutput {
    /// There is something more in the world, or there was already.
    pub made: Option<Made>,
    /// Everything of this kind is gone.
    pub released: Option<&'static str>,
    /// The tenant's status, from the first to the second.
    pub tenant_status: Option<(Status, Status)>,
    /// A run that begins with the end of this step.
    pub follow_up: Option<RunKind>,
}

impl StepOutput {
    pub fn nothing_more() -> Self {
        Self::default()
    }

    pub fn made(kind: &'static str, reference: &str, server_id: Option<Uuid>) -> Self {
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

/// When a step that failed is tried again, and for how long an attempt may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    /// Before the second attempt.
    pub initial: Duration,
    /// By which each wait is longer than the one before.
    pub factor: u32,
    /// No wait is longer.
    pub longest: Duration,
    /// In all; then the run is undone.
    pub attempts: i32,
    /// One attempt lasts no longer.
    pub timeout: Duration,
}

impl Retries {
    /// Attempts in all, where the operator allows so many at any step.
    pub fn most(&self, allowed: i32) -> i32 {
        self.attempts.min(allowed)
    }

    /// For the registry and the database servers: with 30 attempts an outage of a good ten minutes is survived.
    pub const DATABASE: Self = Self {
        initial: Duration::from_millis(100),
        factor: 2,
        longest: Duration::from_secs(30),
        attempts: 30,
        timeout: Duration::from_secs(90),
    };
    /// For the services of others, which may take hours to be mended.
    pub const SERVICE: Self = Self {
        initial: Duration::from_millis(500),
        factor: 2,
        longest: Duration::from_secs(5 * 60),
        attempts: 40,
        timeout: Duration::from_secs(30),
    };

    /// How long to wait after so many attempts. The last fifth is chance, so that many that failed together do not come
    /// back together.
    pub fn wait_after(&self, attempts: i32) -> Duration {
        let exponent = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(20);
        let wait = self.initial.saturating_mul(self.factor.saturating_pow(exponent));
        let chance = f64::from(Uuid::new_v4().as_bytes()[0]) / 256.0;
        wait.min(self.longest).mul_f64(0.8 + 0.2 * chance)
    }
}

pub(super) type StepFuture<'a> = BoxFuture<'a, Result<StepOutput, StepError>>;

/// Both directions of a step. Each must be idempotent: applied twice, or undone without having been applied, it changes
/// nothing more.
pub(super) struct SagaStep {
    pub name: &'static str,
    pub apply: for<'a> fn(&'a Context) -> StepFuture<'a>,
    pub undo: for<'a> fn(&'a Context) -> StepFuture<'a>,
    pub retries: Retries,
}

/// The undo of a step that leaves nothing that would have to be undone: its effect lies inside something that an
/// earlier step undoes, or is recorded with the end of the step and not before.
pub(super) fn nothing_to_undo(_: &Context) -> StepFuture<'_> {
    async { Ok(StepOutput::nothing_more()) }.boxed()
}

/// Such a step.
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
