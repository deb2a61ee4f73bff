//! Activates the tenant: from here on it is served. The status changes in the same statement that
//! records the end of the run, so that no tenant that may have been used is ever undone.

use futures_util::FutureExt;

use super::{Context, SagaStep, StepOutput, without_undo};
use crate::provisioning::hooks::Hook;
use crate::registry::runs::provisioning_runs::RunKind;
use crate::registry::tenants::Status;

pub(crate) const STEP: SagaStep =
    without_undo("activate", |context| async { Ok(activated(context)) }.boxed());

fn activated(context: &Context) -> StepOutput {
    let is_told = context.services.hooks.is_on(Hook::Notify);
    StepOutput {
        follow_up: is_told.then_some(RunKind::AnnounceTenant),
        ..StepOutput::moved(Status::Provisioning, Status::Active)
    }
}
