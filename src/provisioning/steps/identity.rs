//! The row by which the database says whose it is, after a look at whether it is what it should be.

use futures_util::FutureExt;

use super::{Context, SagaStep, StepError, goes_with_the_database};
use crate::postgres::migrating;
use crate::tenant_data::roles::BUILT_IN;

pub(crate) const STEP: SagaStep<Context> = SagaStep {
    name: "identity",
    apply: |context| apply(context).boxed(),
    undo: goes_with_the_database,
};

async fn apply(context: &Context) -> Result<(), StepError> {
    let server = context.tools.registry.server();
    let mut inside = server.connect(&context.tenant_id.database_name()).await?;
    let applied = inside.texts("SELECT version FROM seaql_migrations ORDER BY version").await?;
    let expected = migrating::newest::<tenant_migrations::Migrator>();
    if applied.last() != Some(&expected) {
        return Err(StepError::Passing(format!(
            "the copied schema is {:?}, not {expected}",
            applied.last()
        )));
    }
    let roles = inside.texts("SELECT name FROM roles").await?;
    if BUILT_IN.iter().any(|(role, _)| !roles.iter().any(|found| found == role)) {
        return Err(StepError::Passing(format!("the copied preseed has the roles {roles:?} only")));
    }
    let id = context.tenant_id.to_string();
    inside
        .batch(&format!(
            "INSERT INTO tenant_identity (tenant_id, created_at) VALUES ('{id}', now()) ON CONFLICT DO NOTHING"
        ))
        .await?;
    let found = inside.texts("SELECT tenant_id::text FROM tenant_identity").await?;
    if found != [id] {
        return Err(StepError::Passing(format!("the database says it belongs to {found:?}")));
    }
    inside.close().await;
    Ok(())
}
