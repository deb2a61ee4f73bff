//! Is everything there that a tenant finds on its first day? Asked over a connection of the tenant's own role, which
//! proves that role, password, rights and identity are in order before anybody depends on them.

use futures_util::FutureExt;

use super::{Context, Done, SagaStep, StepError, without_undo};
use crate::tenant_data::preseed::{Missing, PreseedError, verify_preseed};

pub(crate) const STEP: SagaStep = without_undo("preseed", |context| verify(context).boxed());

async fn verify(context: &Context) -> Result<Done, StepError> {
    verify_preseed(context.tenant_db().await?).await?;
    Ok(Done::nothing_more())
}

/// As for a new tenant, but for what a tenant may have taken away itself.
pub(super) async fn verify_mended(context: &Context) -> Result<Done, StepError> {
    match verify_preseed(context.tenant_db().await?).await {
        Err(PreseedError::Incomplete(missing)) if missing.iter().all(Missing::is_optional) => {
            Ok(Done::nothing_more())
        }
        Ok(()) => Ok(Done::nothing_more()),
        Err(error) => Err(error.into()),
    }
}
