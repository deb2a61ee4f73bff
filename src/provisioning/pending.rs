//! The step that an open run waits for or works on, for operators.

use super::definitions::{Definition, OnFailure};
use super::provisioner::Provisioner;
use crate::registry::runs::provisioning_runs::{Run, RunStatus, Step, StepStatus};

/// The current step of an open run.
#[derive(Clone, Copy, Debug)]
pub struct PendingStep<'a> {
    /// The step's row.
    pub step: &'a Step,
    /// The attempts at the step so far. If the run is being undone, the attempts at undoing it.
    pub attempts: i32,
    /// After this many attempts the run is undone. `None`: the step is tried until it succeeds.
    pub most_attempts: Option<i32>,
    /// The error of the last failed attempt. `None` if no attempt has failed.
    pub last_error: Option<&'a str>,
}

impl Provisioner {
    /// The current step of a run, from its row and its steps. `None` if the run has ended.
    pub fn pending<'a>(&self, run: &Run, steps: &'a [Step]) -> Option<PendingStep<'a>> {
        match run.status {
            RunStatus::Completed | RunStatus::Failed => None,
            RunStatus::Compensating => {
                let is_left =
                    |s: &&Step| !matches!(s.status, StepStatus::Pending | StepStatus::Compensated);
                let step = steps.iter().rev().find(is_left)?;
                let last_error = step.undo_error.as_deref();
                let attempts = step.undo_attempts;
                Some(PendingStep { step, attempts, most_attempts: None, last_error })
            }
            RunStatus::Pending | RunStatus::Running => {
                let step = steps.iter().find(|step| step.status != StepStatus::Completed)?;
                let most_attempts = self.most_attempts(run, step);
                let last_error = step.last_error.as_deref();
                Some(PendingStep { step, attempts: step.attempts, most_attempts, last_error })
            }
        }
    }

    fn most_attempts(&self, run: &Run, step: &Step) -> Option<i32> {
        let definition = Definition::of(run.kind, run.version)?;
        let retries = Definition::step(&step.name)?.retries;
        let ends = definition.on_failure == OnFailure::Undo;
        ends.then(|| retries.most(self.services.settings.max_attempts))
    }
}
