//! The purge: deletes a tenant's resources in the reverse order of their creation. None of it can
//! be undone, so each step first checks that the tenant is being purged.

use std::time::Duration;

use futures_util::FutureExt;
use sea_orm::{TransactionSession, TransactionTrait};

use super::{Context, Retries, SagaStep, StepError, StepOutput, database, role, without_undo};
use crate::postgres::administration::ServerLock;
use crate::registry::inbox::clerk;
use crate::registry::tenants::{self, Status, Tenant};
use crate::registry::tenants::{domains, email_index, phone_numbers, unproven_tenants};

/// A drop makes the server write a checkpoint. There is at most one drop in this time on a server,
/// over all replicas.
const BETWEEN_DROPS: Duration = Duration::from_secs(1);

pub(crate) const CLOSE: SagaStep = without_undo("close", |context| close(context).boxed());
pub(crate) const DROP_DATABASE: SagaStep = SagaStep {
    // Includes the wait for other drops on the same server.
    retries: Retries { timeout: Duration::from_secs(300), ..Retries::DATABASE },
    ..without_undo("drop_database", |context| drop_database(context).boxed())
};
pub(crate) const DROP_ROLE: SagaStep =
    without_undo("drop_role", |context| drop_role(context).boxed());
pub(crate) const FORGET: SagaStep = without_undo("forget", |context| forget(context).boxed());

/// The tenant, if it may be purged. `None` if it is purged already.
async fn condemned(context: &Context) -> Result<Option<Tenant>, StepError> {
    let tenant = context.tenant().await?;
    match tenant.status {
        Status::Purging => Ok(Some(tenant)),
        Status::Purged => Ok(None),
        other => {
            Err(StepError::Permanent(format!("the tenant is {other:?}: it is not to be purged")))
        }
    }
}

/// Closes the tenant's database to new connections and ends its sessions.
async fn close(context: &Context) -> Result<StepOutput, StepError> {
    if let Some(tenant) = condemned(context).await? {
        let target = context.server_of(&tenant).await?;
        let mut admin = context.administer(target).await?;
        if admin.database_exists(&tenant.database_name).await? {
            admin.close_database(&tenant.database_name).await?;
        }
        admin.keep();
    }
    Ok(StepOutput::nothing_more())
}

async fn drop_database(context: &Context) -> Result<StepOutput, StepError> {
    let Some(tenant) = condemned(context).await? else { return Ok(StepOutput::nothing_more()) };
    let target = context.server_of(&tenant).await?;
    // The tenant's lock is always taken before the server's.
    context.administer(target).await?.keep();
    let mut in_line = target.server.administer().await?;
    in_line.lock(ServerLock::Drop).await?;
    let done = database::undo(context).await?;
    tokio::time::sleep(BETWEEN_DROPS).await;
    in_line.close().await;
    Ok(done)
}

async fn drop_role(context: &Context) -> Result<StepOutput, StepError> {
    match condemned(context).await? {
        Some(_) => role::undo(context).await,
        None => Ok(StepOutput::nothing_more()),
    }
}

/// Frees the tenant's numbers, domains, addresses and slug. The row stays as a record.
async fn forget(context: &Context) -> Result<StepOutput, StepError> {
    let Some(_) = condemned(context).await? else { return Ok(StepOutput::nothing_more()) };
    let (id, now) = (context.tenant_id, context.services.clock.now());
    let db = context.registry().await?;
    let transaction = db.begin().await?;
    context.check_lease(&transaction).await?;
    phone_numbers::release_all(&transaction, id, now).await?;
    domains::remove_all(&transaction, id).await?;
    email_index::remove_all(&transaction, id).await?;
    clerk::forget_tenant(&transaction, id).await?;
    unproven_tenants::remove(&transaction, id).await?;
    tenants::forget_names(&transaction, id, now).await?;
    transaction.commit().await?;
    Ok(StepOutput::moved(Status::Purging, Status::Purged))
}
