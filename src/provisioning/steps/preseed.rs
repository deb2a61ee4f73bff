//! Is everything there that a tenant finds on its first day? Asked over a connection of the tenant's own role, which
//! proves that role, password, rights and identity are in order before anybody depends on them.

use futures_util::FutureExt;

use super::{Context, Done, Retries, SagaStep, StepError, nothing_to_undo};
use crate::tenant_data::preseed::verify_preseed;

pub(crate) const STEP: SagaStep = SagaStep {
    name: "preseed",
    apply: |context| verify(context).boxed(),
    undo: nothing_to_undo,
    retries: Retries::DATABASE,
};

pub(super) async fn verify(context: &Context) -> Result<Done, StepError> {
    let db = context.tenant_db().await?;
    verify_preseed(db).await.map_err(|error| StepError::Passing(error.to_string()))?;
    Ok(Done::nothing_more())
}
