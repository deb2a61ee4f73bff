//! The tenant's own login role.

use futures_util::FutureExt;
use secrecy::ExposeSecret;

use super::{Context, SagaStep, StepError};
use crate::tenant_router::TENANT_GROUP;

pub(crate) const STEP: SagaStep<Context> = SagaStep {
    name: "role",
    apply: |context| apply(context).boxed(),
    undo: |context| undo(context).boxed(),
};

async fn apply(context: &Context) -> Result<(), StepError> {
    let registry = &context.tools.registry;
    let salt = registry.sealer().random_bytes().map_err(|e| StepError::Passing(e.to_string()))?;
    let mut administration = registry.server().administer().await?;
    administration.create_group(TENANT_GROUP).await?;
    administration
        .create_login(
            &context.tenant_id.database_name(),
            TENANT_GROUP,
            context.role_password.expose_secret(),
            &salt,
        )
        .await?;
    administration.close().await;
    Ok(())
}

async fn undo(context: &Context) -> Result<(), StepError> {
    let mut administration = context.tools.registry.server().administer().await?;
    administration.drop_role(&context.tenant_id.database_name()).await?;
    administration.close().await;
    Ok(())
}
