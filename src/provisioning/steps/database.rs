//! The tenant's database: a copy of the template that its own role, and no other, may connect to.

use futures_util::FutureExt;

use super::{Context, SagaStep, StepError};
use crate::provisioning::template;

pub(crate) const STEP: SagaStep<Context> = SagaStep {
    name: "database",
    apply: |context| apply(context).boxed(),
    undo: |context| undo(context).boxed(),
};

async fn apply(context: &Context) -> Result<(), StepError> {
    let server = context.tools.registry.server();
    let name = context.tenant_id.database_name();
    template::ensure(server).await?;
    let mut administration = server.administer().await?;
    administration.copy_database(&template::name(server), &name).await?;
    administration.grant_connect(&name, &name).await?;
    administration.close().await;
    Ok(())
}

async fn undo(context: &Context) -> Result<(), StepError> {
    let mut administration = context.tools.registry.server().administer().await?;
    administration.drop_database(&context.tenant_id.database_name()).await?;
    administration.close().await;
    Ok(())
}
