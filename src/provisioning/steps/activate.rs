//! From here on the tenant is in use.

use futures_util::FutureExt;

use super::{Context, SagaStep, StepError};
use crate::registry::tenants::{self, Status};

pub(crate) const STEP: SagaStep<Context> = SagaStep {
    name: "activate",
    apply: |context| change(context, Status::Provisioning, Status::Active).boxed(),
    undo: |context| change(context, Status::Active, Status::Provisioning).boxed(),
};

/// Where the tenant is not in the first status, the change was made before, or there is no tenant to change.
async fn change(context: &Context, from: Status, to: Status) -> Result<(), StepError> {
    let db = context.tools.registry.connect().await?;
    tenants::change_status(&db, context.tenant_id, from, to, context.tools.clock.now()).await?;
    context.tools.router.directory().forget(context.tenant_id);
    Ok(())
}
