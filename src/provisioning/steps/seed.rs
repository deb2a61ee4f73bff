//! Checks that the seed is complete. The check uses a connection of the tenant's own role, which
//! proves that role, password, rights and identity are in order before the tenant is served.

use futures_util::FutureExt;

use super::{Context, SagaStep, StepError, StepOutput, without_undo};
use crate::tenant_data::seed::{Missing, SeedError, verify_seed};

pub(crate) const STEP: SagaStep = without_undo("preseed", |context| verify(context).boxed());

async fn verify(context: &Context) -> Result<StepOutput, StepError> {
    verify_seed(context.tenant_db().await?).await?;
    Ok(StepOutput::nothing_more())
}

/// As for a new tenant, without the rows that a tenant may have removed itself.
pub(super) async fn verify_mended(context: &Context) -> Result<StepOutput, StepError> {
    match verify_seed(context.tenant_db().await?).await {
        Err(SeedError::Incomplete(missing)) if missing.iter().all(Missing::is_optional) => {
            Ok(StepOutput::nothing_more())
        }
        Ok(()) => Ok(StepOutput::nothing_more()),
        Err(error) => Err(error.into()),
    }
}
