//! The first member of the tenant's staff.

use futures_util::FutureExt;

use super::{Context, SagaStep, StepError, StepOutput, create_input, owner_row, without_undo};
use crate::tenant_data::staff;

pub(crate) const STEP: SagaStep = without_undo("owner", |context| apply(context).boxed());

async fn apply(context: &Context) -> Result<StepOutput, StepError> {
    if let Some(owner) = &create_input(context)?.owner {
        let db = context.tenant_db().await?;
        staff::add(db, &owner_row(owner)?, context.services.clock.now()).await?;
    }
    Ok(StepOutput::nothing_more())
}
