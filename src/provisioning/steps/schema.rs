//! Is the copied schema what it should be? Then the database gets the row by which it says whose it is.

use futures_util::FutureExt;

use super::{Context, Done, Retries, SagaStep, StepError, nothing_to_undo};
use crate::postgres::administration::Administration;
use crate::postgres::migrating;

pub(crate) const STEP: SagaStep = SagaStep {
    name: "schema",
    apply: |context| apply(context).boxed(),
    undo: nothing_to_undo,
    retries: Retries::DATABASE,
};

async fn apply(context: &Context) -> Result<Done, StepError> {
    let tenant = context.tenant().await?;
    let place = context.place_of(&tenant).await?;
    // For its lock, under which nobody else drops the database.
    let seat = context.administer(&place).await?;
    let mut inside = place.server.connect(&tenant.database_name).await?;
    expect_newest(&mut inside).await?;
    identify(context, &mut inside).await?;
    inside.close().await;
    seat.keep();
    Ok(Done::nothing_more())
}

/// Fails unless the newest migration has been applied.
async fn expect_newest(inside: &mut Administration) -> Result<(), StepError> {
    let applied = inside.texts("SELECT version FROM seaql_migrations ORDER BY version").await?;
    let expected = migrating::newest::<tenant_migrations::Migrator>();
    if applied.last() != Some(&expected) {
        let found = applied.last();
        return Err(StepError::Passing(format!("the copied schema is {found:?}, not {expected}")));
    }
    Ok(())
}

/// Writes whose database it is, or finds it written.
pub(super) async fn identify(
    context: &Context,
    inside: &mut Administration,
) -> Result<(), StepError> {
    let id = context.tenant_id.to_string();
    inside
        .batch(&format!(
            "INSERT INTO tenant_identity (tenant_id, created_at) VALUES ('{id}', now()) ON CONFLICT DO NOTHING"
        ))
        .await?;
    let found = inside.texts("SELECT tenant_id::text FROM tenant_identity").await?;
    if found != [id] {
        return Err(StepError::Final(format!("the database says it belongs to {found:?}")));
    }
    Ok(())
}
