//! The engine. The process that has claimed a run does its steps in order and records each, or
//! undoes them in reverse. The begin of a step is recorded before the step starts, so that it is
//! undone even if its result is lost.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::context::Context;
use super::definitions::{Definition, OnFailure};
use super::failpoints::{FailpointAction, FailpointPosition};
use super::input::Input;
use super::saga::{Retries, SagaStep, StepFuture, StepOutput};
use super::services::Services;
use super::statistics::Outcome;
use super::step_error::{Refusal, StepError};
use crate::registry::runs::provisioning_runs::{self, Run, RunKind, RunStatus, Step, StepStatus};
use crate::registry::runs::run_leases::{self, Claim, LeaseLost, Progress, RunEvent, StepChange};
use crate::registry::{RegistryError, RegistryTransaction};

/// For a longer wait the run is released, and claimed again when it is due.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The wait of a run whose input this process cannot unseal: another process may have the key.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(30);
/// The number of attempts at recording, and the pause between two of them.
const RECORD_ATTEMPTS: usize = 5;
const RECORD_PAUSE: Duration = Duration::from_millis(200);
/// A step that is tried until it succeeds causes an alert after this many failures.
const ALARM: i32 = 10;

/// Why a worker releases a run before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paused {
    /// The run is due later, for any process.
    Rescheduled,
    /// Another process has the lease, or nothing can be recorded.
    Lost,
}

/// The consequence of an error in a step for the run.
struct Failure {
    code: &'static str,
    /// For the client, without internal names.
    detail: String,
}

impl Failure {
    fn of(error: &StepError) -> Self {
        match error {
            StepError::Refused(refusal) => Self::refused(*refusal),
            _ => Self {
                code: "provisioning_failed",
                detail: "the organization could not be created; please try again".to_owned(),
            },
        }
    }

    fn refused(refusal: Refusal) -> Self {
        Self { code: refusal.code(), detail: refusal.to_string() }
    }
}

/// Works on a claimed run until it has ended or has to be released.
pub(super) async fn work(services: &Services, claim: Claim, run: Run) -> Result<RunStatus, Paused> {
    // Only runs with a known definition are claimed.
    let definition = Definition::of(run.kind, run.version).ok_or(Paused::Lost)?;
    let steps = async {
        let db = services.registry.connect().await?;
        provisioning_runs::steps_of(&db, run.id).await
    };
    let steps = steps.await.map_err(|_| Paused::Lost)?;
    let input = open_input(services, &claim, &run).await?;
    let context = Context::new(services.clone(), run.tenant_id, claim, input);
    let mut worker = Worker {
        definition,
        steps,
        is_cancelled: run.cancel_requested_at.is_some(),
        staged: Progress::default(),
        follow_up: None,
        renewed: Instant::now(),
        context,
    };
    let mut code = run.error_code;
    if run.status != RunStatus::Compensating {
        match worker.forward().await? {
            None => return worker.end(RunStatus::Completed, Outcome::Completed).await,
            Some(failure) => {
                code = Some(failure.code.to_owned());
                worker.staged.status = Some(RunStatus::Compensating);
                worker.staged.error = Some((failure.code, failure.detail));
                worker.note("compensation_begun", None, None, None);
                worker.record(None).await?;
            }
        }
    }
    worker.backward().await?;
    worker.end(RunStatus::Failed, Outcome::of_failure(code.as_deref())).await
}

/// The input of the run. An open run whose input cannot be unsealed here is rescheduled, because
/// another process may have the key. A run that is being undone needs no input.
async fn open_input(
    services: &Services,
    claim: &Claim,
    run: &Run,
) -> Result<Option<Input>, Paused> {
    let Some(sealed) = run.sealed_input.as_deref() else { return Ok(None) };
    let error = match Input::open(services.registry.sealer(), run.id, sealed) {
        Ok(input) => return Ok(Some(input)),
        Err(error) => error,
    };
    if run.status == RunStatus::Compensating || run.cancel_requested_at.is_some() {
        return Ok(None);
    }
    tracing::error!(run = %run.id, %error, "ALARM: this process cannot read what a run was planned with; has it every master key?");
    let reschedule = Progress { reschedule: Some(UNREADABLE_PAUSE), ..Progress::default() };
    let db = services.registry.connect().await.map_err(|_| Paused::Lost)?;
    let _ = run_leases::advance(&db, claim, reschedule, services.clock.now()).await;
    Err(Paused::Rescheduled)
}

struct Worker {
    context: Context,
    definition: &'static Definition,
    steps: Vec<Step>,
    is_cancelled: bool,
    /// Progress that is not recorded yet.
    staged: Progress,
    /// The run that is to be planned in the same transaction.
    follow_up: Option<RunKind>,
    /// When the lease was last renewed.
    renewed: Instant,
}

impl Worker {
    /// Does the steps that are not done. Returns the reason if the run has to be undone.
    async fn forward(&mut self) -> Result<Option<Failure>, Paused> {
        for at in 0..self.steps.len() {
            if self.steps[at].status == StepStatus::Completed {
                continue;
            }
            let step = self.step(at)?;
            loop {
                if let Some(failure) = self.is_given_up(at, step) {
                    return Ok(Some(failure));
                }
                self.begin(at).await?;
                if self.is_cancelled && self.definition.on_failure == OnFailure::Undo {
                    self.fail(at, "cancelled".to_owned(), None);
                    return Ok(Some(Failure::refused(Refusal::Cancelled)));
                }
                let moments = (FailpointPosition::BeforeEffect, FailpointPosition::AfterEffect);
                match self.attempt(step, step.apply, moments, step.retries.timeout).await? {
                    Ok(done) => {
                        self.complete(at, done);
                        break;
                    }
                    Err(error) => {
                        self.context.look_again();
                        if let Some(failure) = self.judge(at, step, &error).await? {
                            return Ok(Some(failure));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Limits the attempts at a step during which one process after the other dies.
    fn is_given_up(&mut self, at: usize, step: &SagaStep) -> Option<Failure> {
        let most = step.retries.most(self.context.services.settings.max_attempts);
        let attempts = self.steps[at].attempts;
        if attempts < most || self.definition.on_failure == OnFailure::KeepTrying {
            return None;
        }
        let unknown = || format!("none of {attempts} attempts came to an end");
        let reason = self.steps[at].last_error.clone().unwrap_or_else(unknown);
        let error = StepError::Permanent(reason.clone());
        tracing::error!(run = %self.context.claim.run, step = step.name, %error, "ALARM: undoing the run");
        self.fail(at, reason, None);
        Some(Failure::of(&error))
    }

    /// Decides whether a failed attempt is repeated, and waits if the next attempt is due soon.
    async fn judge(
        &mut self,
        at: usize,
        step: &SagaStep,
        error: &StepError,
    ) -> Result<Option<Failure>, Paused> {
        let attempts = self.steps[at].attempts;
        let most = step.retries.most(self.context.services.settings.max_attempts);
        let is_over = !error.may_pass() || attempts >= most;
        let run = self.context.claim.run;
        if is_over && self.definition.on_failure == OnFailure::Undo {
            tracing::warn!(%run, step = step.name, attempts, %error, "a step failed; undoing the run");
            self.fail(at, error.to_string(), None);
            return Ok(Some(Failure::of(error)));
        }
        let wait = step.retries.wait_after(attempts);
        if attempts >= ALARM && self.definition.on_failure == OnFailure::KeepTrying {
            tracing::error!(%run, step = step.name, attempts, %error, "ALARM: a step that has no way back keeps failing; it will be tried again");
        } else {
            tracing::info!(%run, step = step.name, attempts, %error, "a step will be tried again");
        }
        self.fail(at, error.to_string(), Some(wait));
        self.pause(wait).await?;
        Ok(None)
    }

    /// Undoes the steps that have begun, the last first. It never gives up: a remaining resource
    /// would belong to no tenant.
    async fn backward(&mut self) -> Result<(), Paused> {
        for at in (0..self.steps.len()).rev() {
            if matches!(self.steps[at].status, StepStatus::Pending | StepStatus::Compensated) {
                continue;
            }
            let step = self.step(at)?;
            loop {
                let moments = (FailpointPosition::BeforeUndo, FailpointPosition::AfterUndo);
                let undone = self.attempt(step, step.undo, moments, Retries::UNDO.timeout).await?;
                self.steps[at].undo_attempts += 1;
                let attempt = self.steps[at].undo_attempts;
                match undone {
                    Ok(done) => {
                        self.steps[at].status = StepStatus::Compensated;
                        self.take(done);
                        self.stage(at, None, None);
                        self.note("step_undone", Some(step.name), Some(attempt), None);
                        self.record(None).await?;
                        break;
                    }
                    Err(error) => {
                        self.context.look_again();
                        let run = self.context.claim.run;
                        if attempt >= ALARM {
                            tracing::error!(%run, step = step.name, attempt, %error, "ALARM: a step cannot be undone; it will be tried again");
                        } else {
                            tracing::warn!(%run, step = step.name, attempt, %error, "an undo failed and will be tried again");
                        }
                        let wait = Retries::UNDO.wait_after(attempt);
                        let reason = error.to_string();
                        self.note("undo_failed", Some(step.name), Some(attempt), Some(&reason));
                        self.stage_undo(at, reason, wait);
                        self.pause(wait).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The step at that position. A step that this program does not know belongs to a newer
    /// version.
    fn step(&self, at: usize) -> Result<&'static SagaStep, Paused> {
        let name = &self.steps[at].name;
        Definition::step(name).ok_or_else(|| {
            tracing::error!(run = %self.context.claim.run, name, "this program does not know this step");
            Paused::Lost
        })
    }

    /// One attempt, while this process has the run's lease, and for at most `timeout`.
    async fn attempt(
        &mut self,
        step: &'static SagaStep,
        direction: for<'a> fn(&'a Context) -> StepFuture<'a>,
        (before, after): (FailpointPosition, FailpointPosition),
        timeout: Duration,
    ) -> Result<Result<StepOutput, StepError>, Paused> {
        let context = &self.context;
        let interrupted = |moment| match context
            .services
            .failpoints
            .as_ref()
            .and_then(|i| i(step.name, moment))
        {
            Some(FailpointAction::Dies) => Err(None),
            Some(FailpointAction::Fails) => {
                Err(Some(StepError::Transient(format!("interrupted {moment:?}"))))
            }
            Some(FailpointAction::FailsForGood) => {
                Err(Some(StepError::Permanent(format!("interrupted {moment:?}"))))
            }
            None => Ok(()),
        };
        let work = async {
            interrupted(before)?;
            let done = direction(context).await.map_err(Some)?;
            interrupted(after)?;
            Ok(done)
        };
        let slow = |_| {
            Err(Some(StepError::Transient(format!("it took longer than {} s", timeout.as_secs()))))
        };
        let limited = async { tokio::time::timeout(timeout, work).await.unwrap_or_else(slow) };
        match self.while_held(limited).await? {
            Ok(done) => Ok(Ok(done)),
            Err(Some(error)) => Ok(Err(error)),
            // A failpoint simulates the death of this process.
            Err(None) => Err(Paused::Lost),
        }
    }

    /// Renews the lease while `work` runs. Drops `work` when the lease is lost or may be lost.
    async fn while_held<T>(&self, work: impl Future<Output = T>) -> Result<T, Paused> {
        let (claim, services) = (&self.context.claim, &self.context.services);
        let mut renewed = self.renewed;
        let heartbeat = async {
            loop {
                tokio::time::sleep(claim.lease / 3).await;
                let begun = Instant::now();
                let renewal = async {
                    let db = services.registry.connect().await?;
                    run_leases::renew(&db, claim).await
                };
                match tokio::time::timeout(claim.lease / 3, renewal).await {
                    Ok(Ok(Ok(()))) => renewed = begun,
                    Ok(Ok(Err(LeaseLost))) => return,
                    Ok(Err(error)) => {
                        tracing::warn!(run = %claim.run, %error, "the lease of a run could not be renewed");
                    }
                    Err(_) => {
                        tracing::warn!(run = %claim.run, "the lease of a run was not renewed in time");
                    }
                }
                if renewed.elapsed() >= claim.lease * 2 / 3 {
                    return;
                }
            }
        };
        tokio::select! {
            result = work => Ok(result),
            () = heartbeat => {
                tracing::warn!(run = %claim.run, "the lease of a run was lost; leaving it to others");
                Err(Paused::Lost)
            }
        }
    }

    async fn begin(&mut self, at: usize) -> Result<(), Paused> {
        let step = &mut self.steps[at];
        step.status = StepStatus::Running;
        step.attempts += 1;
        let (name, attempts) = (step.name.clone(), step.attempts);
        self.stage(at, None, None);
        self.note("step_begun", Some(&name), Some(attempts), None);
        self.record(None).await
    }

    fn complete(&mut self, at: usize, done: StepOutput) {
        let step = &mut self.steps[at];
        step.status = StepStatus::Completed;
        let (name, attempts) = (step.name.clone(), step.attempts);
        self.take(done);
        self.stage(at, None, None);
        self.note("step_completed", Some(&name), Some(attempts), None);
    }

    fn fail(&mut self, at: usize, reason: String, retry_in: Option<Duration>) {
        let step = &mut self.steps[at];
        step.status = if retry_in.is_some() { StepStatus::Running } else { StepStatus::Failed };
        let (name, attempts) = (step.name.clone(), step.attempts);
        self.note("step_failed", Some(&name), Some(attempts), Some(&reason));
        self.stage(at, Some(reason), retry_in);
    }

    fn take(&mut self, done: StepOutput) {
        self.staged.made.extend(done.made);
        self.staged.released.extend(done.released);
        self.staged.tenant_status = self.staged.tenant_status.or(done.tenant_status);
        self.follow_up = self.follow_up.or(done.follow_up);
    }

    /// Stages the result of a step. It replaces an earlier staged result of the same step.
    fn stage(&mut self, at: usize, last_error: Option<String>, retry_in: Option<Duration>) {
        let step = &self.steps[at];
        let change = StepChange {
            position: step.position,
            status: step.status,
            attempts: step.attempts,
            undo_attempts: step.undo_attempts,
            last_error,
            undo_error: None,
            retry_in_seconds: retry_in.map(|wait| wait.as_secs_f64()),
        };
        self.staged.steps.retain(|staged| staged.position != change.position);
        self.staged.steps.push(change);
    }

    /// Stages a failed undo. The error of the step itself is kept.
    fn stage_undo(&mut self, at: usize, reason: String, retry_in: Duration) {
        self.stage(at, None, Some(retry_in));
        if let Some(staged) = self.staged.steps.last_mut() {
            staged.undo_error = Some(reason);
        }
    }

    fn note(
        &mut self,
        event: &'static str,
        step: Option<&str>,
        attempt: Option<i32>,
        detail: Option<&str>,
    ) {
        let (step, detail) = (step.map(str::to_owned), detail.map(str::to_owned));
        self.staged.happened.push(RunEvent { event, step, attempt, detail });
    }

    async fn end(mut self, status: RunStatus, outcome: Outcome) -> Result<RunStatus, Paused> {
        self.staged.status = Some(status);
        let event = if status == RunStatus::Completed { "run_completed" } else { "run_failed" };
        self.note(event, None, None, None);
        self.record(None).await?;
        self.context.services.statistics.count_end(self.definition.kind, outcome);
        self.context.leave_seat().await;
        Ok(status)
    }

    /// Records the progress and waits. For a longer wait, and at the end of the process, the run is
    /// released.
    async fn pause(&mut self, wait: Duration) -> Result<(), Paused> {
        let life = self.context.services.life.clone();
        if wait > LONGEST_PAUSE || life.is_stopping() {
            self.record(Some(wait)).await?;
            return Err(Paused::Rescheduled);
        }
        self.record(None).await?;
        let is_stopped = async {
            tokio::select! {
                () = tokio::time::sleep(wait) => false,
                () = life.stopping() => true,
            }
        };
        if self.while_held(is_stopped).await? {
            self.record(Some(Duration::ZERO)).await?;
            return Err(Paused::Rescheduled);
        }
        Ok(())
    }

    /// Records the staged progress.
    async fn record(&mut self, reschedule: Option<Duration>) -> Result<(), Paused> {
        let mut progress = std::mem::take(&mut self.staged);
        progress.reschedule = reschedule;
        let is_put_off = progress.reschedule.is_some();
        for attempt in 1..=RECORD_ATTEMPTS {
            let begun = Instant::now();
            match self.try_to_record(progress.clone()).await {
                Ok(Ok(is_cancelled)) => {
                    self.renewed = begun;
                    self.follow_up = None;
                    self.is_cancelled |= is_cancelled;
                    if progress.tenant_status.is_some() {
                        self.context.services.router.directory().forget(self.context.tenant_id);
                    }
                    return if is_put_off { Err(Paused::Rescheduled) } else { Ok(()) };
                }
                Ok(Err(LeaseLost)) => return Err(Paused::Lost),
                Err(error) => {
                    tracing::warn!(run = %self.context.claim.run, attempt, %error, "the progress of a run could not be recorded");
                    tokio::time::sleep(RECORD_PAUSE).await;
                }
            }
        }
        Err(Paused::Lost)
    }

    async fn try_to_record(
        &self,
        progress: Progress,
    ) -> Result<Result<bool, LeaseLost>, RegistryError> {
        let services = &self.context.services;
        let (claim, now) = (&self.context.claim, services.clock.now());
        let Some(kind) = self.follow_up else {
            let db = services.registry.connect().await?;
            return run_leases::advance(&db, claim, progress, now).await;
        };
        let recorded = async |transaction: &RegistryTransaction| {
            let advanced = run_leases::advance(transaction, claim, progress, now).await?;
            if advanced.is_ok() {
                let plan = Definition::newest(kind).plan(services, self.context.tenant_id, None)?;
                // A run of the kind `AnnounceTenant` never conflicts with another open run.
                let _ = plan.write(transaction, &claim.worker, now).await?;
            }
            Ok(advanced)
        };
        services.registry.transaction(recorded).await
    }
}
