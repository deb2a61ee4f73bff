//! The moment from which the tenant is served. It happens with the record of the run's end, in one statement: no
//! tenant that somebody may have used is ever undone.

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
