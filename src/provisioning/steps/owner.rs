//! The first member of staff.

use futures_util::FutureExt;

use super::{
    Context, Done, Retries, SagaStep, StepError, create_input, nothing_to_undo, owner_row,
};
use crate::tenant_data::staff;

pub(crate) const STEP: SagaStep = SagaStep {
    name: "owner",
    apply: |context| apply(context).boxed(),
    undo: nothing_to_undo,
    retries: Retries::DATABASE,
};

async fn apply(context: &Context) -> Result<Done, StepError> {
    if let Some(owner) = &create_input(context)?.owner {
        let db = context.tenant_db().await?;
        staff::add(db, &owner_row(owner)?, context.tools.clock.now()).await?;
    }
    Ok(Done::nothing_more())
}
