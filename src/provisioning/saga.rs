//! The engine: does steps in order, records each, and on failure undoes what was done in reverse.
//! An undo is due for the failed step as well: its effect may have happened though its answer was lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::Tools;
use crate::postgres::administration::AdministrationError;
use crate::registry::RegistryError;
use crate::registry::provisioning_runs::{self, RunStatus, StepStatus};
use crate::tenant_router::RouterError;

/// Attempts at a step that fails for a passing reason.
const MAX_ATTEMPTS: i32 = 4;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// A reason that no repetition mends, and that the client may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The email address has registered a tenant already.
    #[error("this email address has already registered an organization")]
    EmailTaken,
    /// The wanted slug belongs to another tenant.
    #[error("this slug is already in use")]
    SlugTaken,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// For a reason that may pass.
    #[error("{0}")]
    Passing(String),
    /// For good.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<RegistryError> for StepError {
    fn from(error: RegistryError) -> Self {
        Self::Passing(error.to_string())
    }
}

impl From<AdministrationError> for StepError {
    fn from(error: AdministrationError) -> Self {
        Self::Passing(error.to_string())
    }
}

impl From<RouterError> for StepError {
    fn from(error: RouterError) -> Self {
        Self::Passing(error.to_string())
    }
}

impl From<sea_orm::DbErr> for StepError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Passing(error.to_string())
    }
}

/// How a run ended that did not complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunFailure {
    /// The client asked for something that cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A step failed again and again.
    #[error("the step `{step}` failed: {reason}")]
    Broken {
        /// Its name.
        step: &'static str,
        /// What it said the last time.
        reason: String,
    },
}

/// Both directions of a step. Each must be idempotent: applied twice, or undone without having been applied,
/// it changes nothing more.
pub(super) struct SagaStep<C: 'static> {
    pub name: &'static str,
    pub apply: for<'a> fn(&'a C) -> BoxFuture<'a, Result<(), StepError>>,
    pub undo: for<'a> fn(&'a C) -> BoxFuture<'a, Result<(), StepError>>,
}

/// Where a test may make a step fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened yet.
    BeforeEffect,
    /// It has happened, and the answer is lost.
    AfterEffect,
}

/// Says whether a step is to fail at a moment.
pub type Interruption = Arc<dyn Fn(&'static str, Moment) -> bool + Send + Sync>;

/// Runs the steps of `id` on `context`.
pub(super) async fn run<C: Sync>(
    tools: &Tools,
    id: Uuid,
    steps: &[SagaStep<C>],
    context: &C,
) -> Result<(), RunFailure> {
    record_run(tools, id, RunStatus::Running, None).await;
    for (index, step) in steps.iter().enumerate() {
        if let Err(failure) = apply(tools, id, index, step, context).await {
            tracing::warn!(run = %id, step = step.name, %failure, "a step failed; undoing the run");
            record_run(tools, id, RunStatus::Compensating, None).await;
            for (index, step) in steps.iter().enumerate().take(index + 1).rev() {
                undo(tools, id, index, step, context).await;
            }
            let (code, detail) = described(&failure);
            record_run(tools, id, RunStatus::Failed, Some((code, &detail))).await;
            return Err(failure);
        }
    }
    record_run(tools, id, RunStatus::Completed, None).await;
    Ok(())
}

/// Stable code and a text that names nothing internal.
fn described(failure: &RunFailure) -> (&'static str, String) {
    match failure {
        RunFailure::Refused(refusal @ Refusal::EmailTaken) => ("email_taken", refusal.to_string()),
        RunFailure::Refused(refusal @ Refusal::SlugTaken) => ("slug_taken", refusal.to_string()),
        RunFailure::Broken { .. } => (
            "provisioning_failed",
            "the organization could not be created; please try again".to_owned(),
        ),
    }
}

async fn apply<C: Sync>(
    tools: &Tools,
    id: Uuid,
    index: usize,
    step: &SagaStep<C>,
    context: &C,
) -> Result<(), RunFailure> {
    let mut delay = FIRST_DELAY;
    let mut attempt = 1;
    loop {
        record_step(tools, id, index, StepStatus::Running, attempt).await;
        let result = match attempt_once(tools, step, context).await {
            Ok(()) => {
                record_step(tools, id, index, StepStatus::Completed, attempt).await;
                return Ok(());
            }
            Err(error) => error,
        };
        let failure = match result {
            StepError::Refused(refusal) => RunFailure::Refused(refusal),
            StepError::Passing(reason) if attempt >= MAX_ATTEMPTS => {
                RunFailure::Broken { step: step.name, reason }
            }
            StepError::Passing(reason) => {
                tracing::info!(run = %id, step = step.name, attempt, reason, "a step will be tried again");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LONGEST_DELAY);
                attempt += 1;
                continue;
            }
        };
        record_step(tools, id, index, StepStatus::Failed, attempt).await;
        return Err(failure);
    }
}

async fn attempt_once<C: Sync>(
    tools: &Tools,
    step: &SagaStep<C>,
    context: &C,
) -> Result<(), StepError> {
    let interrupted = |moment| {
        let fails =
            tools.interruption.as_ref().is_some_and(|interrupt| interrupt(step.name, moment));
        if fails { Err(StepError::Passing(format!("interrupted {moment:?}"))) } else { Ok(()) }
    };
    interrupted(Moment::BeforeEffect)?;
    (step.apply)(context).await?;
    interrupted(Moment::AfterEffect)
}

/// Never gives up while the process lives: what is left behind would belong to nobody.
async fn undo<C: Sync>(tools: &Tools, id: Uuid, index: usize, step: &SagaStep<C>, context: &C) {
    let mut delay = FIRST_DELAY;
    let mut attempt = 1;
    while let Err(error) = (step.undo)(context).await {
        tracing::error!(run = %id, step = step.name, attempt, %error, "an undo failed and will be tried again");
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LONGEST_DELAY);
        attempt += 1;
    }
    record_step(tools, id, index, StepStatus::Compensated, attempt).await;
}

/// The record is for the reader; a registry that cannot take it must not stop the work or the undoing.
async fn record_run(tools: &Tools, id: Uuid, status: RunStatus, error: Option<(&str, &str)>) {
    let recorded = async {
        let db = tools.registry.connect().await?;
        provisioning_runs::record_run(&db, id, status, error, tools.clock.now()).await
    };
    if let Err(error) = recorded.await {
        tracing::warn!(run = %id, ?status, %error, "the state of a run could not be recorded");
    }
}

async fn record_step(tools: &Tools, id: Uuid, index: usize, status: StepStatus, attempts: i32) {
    let position = i32::try_from(index).unwrap_or(i32::MAX);
    let recorded = async {
        let db = tools.registry.connect().await?;
        let now = tools.clock.now();
        provisioning_runs::record_step(&db, id, position, status, attempts, now).await
    };
    if let Err(error) = recorded.await {
        tracing::warn!(run = %id, position, ?status, %error, "the state of a step could not be recorded");
    }
}
