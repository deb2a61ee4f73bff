//! The first member of staff. Written over a connection of the tenant's own role, which proves that the role, its
//! password, its rights and the identity are in order before anybody depends on them.

use futures_util::FutureExt;

use super::{Context, SagaStep, StepError, goes_with_the_database};
use crate::tenant_data::staff;

pub(crate) const STEP: SagaStep<Context> = SagaStep {
    name: "owner",
    apply: |context| apply(context).boxed(),
    undo: goes_with_the_database,
};

async fn apply(context: &Context) -> Result<(), StepError> {
    let db = context.tools.router.connect_for_provisioning(context.tenant_id).await?;
    staff::add(&db, &context.owner, context.tools.clock.now()).await?;
    Ok(())
}
