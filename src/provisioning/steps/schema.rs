//! Migrates the schema to this program's version if it is older. Then the database gets the row
//! that says which tenant it belongs to.

use futures_util::FutureExt;
use sea_orm::{TransactionSession, TransactionTrait};

use super::{Context, SagaStep, StepError, StepOutput, without_undo};
use crate::fleet::{template, untouched};
use crate::postgres::administration::Administration;
use crate::postgres::migrating;
use crate::provisioning::context::TenantServer;
use crate::registry::tenants::{self, Tenant};

/// A migration must not wait forever for a session that uses the table, and must not go on after
/// its client is gone.
const MIGRATION_LIMITS: [(&str, &str); 2] =
    [("lock_timeout", "60s"), ("client_connection_check_interval", "5s")];

pub(crate) const STEP: SagaStep = without_undo("schema", |context| apply(context).boxed());

async fn apply(context: &Context) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    let target = context.server_of(&tenant).await?;
    // For the tenant's lock, under which no other process drops the database.
    let admin = context.administer(target).await?;
    let mut inside = context.enter(target, &tenant).await?;
    let version = bring_up_to_date(target, &tenant, &mut inside).await?;
    identify(context, &mut inside).await?;
    inside.close().await;
    admin.keep();
    record_version(context, &tenant, &version).await?;
    Ok(StepOutput::nothing_more())
}

/// Applies pending migrations and returns the newest applied one: this program's, or a later one.
/// The copy may have been made by another version of the program than the one that continues the
/// run.
pub(super) async fn bring_up_to_date(
    target: &TenantServer,
    tenant: &Tenant,
    inside: &mut Administration,
) -> Result<String, StepError> {
    let newest = template::schema_version();
    let mut applied = applied(inside).await?;
    if !applied.contains(&newest) {
        let options = target.server.options_for(&tenant.database_name).options(MIGRATION_LIMITS);
        migrating::migrate::<tenant_migrations::Migrator>(options).await?;
        template::grant_and_seed(inside).await?;
        applied = self::applied(inside).await?;
    }
    let lacks = || StepError::Transient(format!("the schema has no migration {newest}"));
    applied.pop().filter(|last| *last >= newest).ok_or_else(lacks)
}

/// All applied migrations, oldest first.
async fn applied(inside: &mut Administration) -> Result<Vec<String>, StepError> {
    if !inside.has_table("seaql_migrations").await? {
        return Ok(Vec::new());
    }
    Ok(inside.texts(untouched::APPLIED).await?)
}

pub(super) async fn record_version(
    context: &Context,
    tenant: &Tenant,
    version: &str,
) -> Result<(), StepError> {
    if tenant.schema_version != version {
        let (db, now) = (context.registry().await?, context.services.clock.now());
        let transaction = db.begin().await?;
        context.check_lease(&transaction).await?;
        tenants::record_schema_version(&transaction, context.tenant_id, version, now).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// Fails if the database says that it belongs to a tenant, this one included.
pub(super) async fn expect_nobodys(inside: &mut Administration) -> Result<(), StepError> {
    match owners(inside).await? {
        owners if owners.is_empty() => Ok(()),
        owners => Err(StepError::Permanent(format!("the database says it belongs to {owners:?}"))),
    }
}

/// True if the database names no tenant.
pub(super) async fn is_nobodys(inside: &mut Administration) -> Result<bool, StepError> {
    Ok(owners(inside).await?.is_empty())
}

async fn owners(inside: &mut Administration) -> Result<Vec<String>, StepError> {
    Ok(match inside.has_table("tenant_identity").await? {
        true => inside.texts("SELECT tenant_id::text FROM tenant_identity").await?,
        false => Vec::new(),
    })
}

/// Fails if the database says that it belongs to another tenant.
pub(super) async fn expect_ours(
    context: &Context,
    inside: &mut Administration,
) -> Result<(), StepError> {
    let owners = owners(inside).await?;
    if owners.iter().any(|owner| *owner != context.tenant_id.to_string()) {
        return Err(StepError::Permanent(format!("the database says it belongs to {owners:?}")));
    }
    Ok(())
}

/// Writes the tenant's id into the database, or checks that it is there.
pub(super) async fn identify(
    context: &Context,
    inside: &mut Administration,
) -> Result<(), StepError> {
    let id = context.tenant_id;
    inside
        .batch(&format!(
            "INSERT INTO tenant_identity (tenant_id, created_at) VALUES ('{id}', now()) ON CONFLICT DO NOTHING"
        ))
        .await?;
    expect_ours(context, inside).await
}
