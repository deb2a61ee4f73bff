//! The tenant's database: a renamed warm database, or else a copy of the template. It is closed
//! until a check shows that no other program has written into it. Then only its own role may
//! connect to it.

use futures_util::FutureExt;
use sea_orm::{TransactionSession, TransactionTrait};

use super::{Context, DATABASE, Retries, SagaStep, StepError, StepOutput, schema};
use crate::fleet::{self, template, untouched};
use crate::identifiers::ServerId;
use crate::postgres::administration::{Administration, DatabaseAssignment};
use crate::provisioning::context::TenantServer;
use crate::registry::tenants::Tenant;
use crate::registry::tenants::warm_databases::{self, WarmDatabase};

pub(crate) const STEP: SagaStep = SagaStep {
    name: "database",
    apply: |context| apply(context).boxed(),
    undo: |context| undo(context).boxed(),
    retries: Retries::DATABASE,
};

pub(super) async fn apply(context: &Context) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    let target = context.server_of(&tenant).await?;
    let mut admin = context.administer(target).await?;
    let (name, template) = (tenant.database_name.as_str(), template::name(&target.server));
    let mut inside = None;
    if admin.database_exists(name).await? {
        // An earlier attempt has left it, and perhaps also a warm database that it had claimed.
        discard_claimed_database(context).await?;
        inside = enter_untouched(context, target, &tenant, &template, &mut admin).await?;
    }
    while inside.is_none()
        && let Some(warm) = claim_warm_database(context, target.row.id, &template).await?
    {
        if take_warm_database(context, &mut admin, &warm, name).await? {
            inside = enter_untouched(context, target, &tenant, &template, &mut admin).await?;
        }
    }
    if inside.is_none() {
        template::ensure_by(&mut admin, &target.server).await?;
        admin.copy_database(&template, name).await?;
        inside = enter_untouched(context, target, &tenant, &template, &mut admin).await?;
    }
    let inside = inside.ok_or_else(|| {
        StepError::Permanent(format!(
            "a copy of {template} holds what no seed has written: drop that database, and it is built anew"
        ))
    })?;
    let mark = context.services.fleet.mark();
    let role = &tenant.role_name;
    admin.assign_database(&DatabaseAssignment { database: name, role, mark: &mark }).await?;
    context.leave_inside(inside).await;
    admin.keep();
    Ok(StepOutput::made(DATABASE, name, Some(target.row.id)))
}

/// Renames a warm database to the tenant's database. `false` if it is gone, or could not be renamed
/// and is left for removal.
async fn take_warm_database(
    context: &Context,
    admin: &mut Administration,
    warm: &WarmDatabase,
    name: &str,
) -> Result<bool, StepError> {
    let is_there = admin.database_exists(&warm.name).await?;
    if is_there {
        match admin.take_over(&warm.name, name).await {
            Ok(()) => {}
            Err(error) if error.is_of_object() => {
                tracing::error!(warm = warm.name, %error, "ALARM: a warm database cannot be renamed; it is removed, and another one taken");
                warm_databases::discard(&context.registry().await?, &warm.name).await?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
    }
    warm_databases::forget(&context.registry().await?, &warm.name).await?;
    Ok(is_there)
}

/// Opens the database, which has the tenant's name by now, to the administration alone, and checks
/// its content. `None` if it has foreign content, so that it was parked.
async fn enter_untouched(
    context: &Context,
    target: &TenantServer,
    tenant: &Tenant,
    template: &str,
    admin: &mut Administration,
) -> Result<Option<Administration>, StepError> {
    let name = tenant.database_name.as_str();
    admin.open_to_administration(name).await?;
    let mut inside = context.enter(target, tenant).await?;
    // A tenant's own database is never parked here.
    schema::expect_nobodys(&mut inside).await?;
    let foreign = untouched::foreign_content(&mut inside).await?;
    if foreign.is_empty() {
        return Ok(Some(inside));
    }
    tracing::error!(
        tenant = %context.tenant_id, database = name, ?foreign,
        "ALARM: a database that no tenant has had holds foreign content; it is removed"
    );
    inside.close().await;
    park(context, target, template, name, admin).await?;
    Ok(None)
}

/// Renames the database and closes it. It is dropped later together with unusable warm databases,
/// because a drop can take as long as the server's next checkpoint. If this is interrupted, the row
/// says which tenant the database was for, and the next attempt finds it there.
async fn park(
    context: &Context,
    target: &TenantServer,
    template: &str,
    name: &str,
    admin: &mut Administration,
) -> Result<(), StepError> {
    let (aside, wanted) = (fleet::new_name(), fleet::wanted(target.row.id, template));
    let (db, now) = (context.registry().await?, context.services.clock.now());
    let transaction = db.begin().await?;
    context.check_lease(&transaction).await?;
    let tenant = context.tenant_id;
    warm_databases::park(&transaction, &aside, &wanted.as_ref(), tenant, now).await?;
    transaction.commit().await?;
    drop(db);
    admin.take_over(name, &aside).await?;
    admin.park_database(&aside, &context.services.fleet.mark()).await?;
    warm_databases::discard(&context.registry().await?, &aside).await?;
    Ok(())
}

/// Claims only while this process has the run's lease at the commit, so that an undo of the run
/// finds the claimed database.
async fn claim_warm_database(
    context: &Context,
    server: ServerId,
    template: &str,
) -> Result<Option<WarmDatabase>, StepError> {
    let db = context.registry().await?;
    let transaction = db.begin().await?;
    context.check_lease(&transaction).await?;
    let wanted = fleet::wanted(server, template);
    let tenant = context.tenant_id;
    let warm = warm_databases::claim(&transaction, tenant, &wanted.as_ref()).await?;
    transaction.commit().await?;
    Ok(warm)
}

pub(super) async fn undo(context: &Context) -> Result<StepOutput, StepError> {
    // Without a row nothing was created: the row is written first and removed last.
    if let Some(tenant) = context.find_purgeable().await? {
        let target = context.server_of(&tenant).await?;
        let mut admin = context.administer(target).await?;
        admin.drop_database(&tenant.database_name).await?;
        drop_claimed_database(context, &mut admin).await?;
        admin.keep();
    }
    Ok(StepOutput::released(DATABASE))
}

/// Marks a warm database that the tenant had claimed, and that is not its database, for removal.
async fn discard_claimed_database(context: &Context) -> Result<(), StepError> {
    let db = context.registry().await?;
    if let Some(warm) = warm_databases::claimed_by(&db, context.tenant_id).await? {
        warm_databases::discard(&db, &warm.name).await?;
    }
    Ok(())
}

/// Drops a warm database that the tenant had claimed and that has not become its database.
pub(super) async fn drop_claimed_database(
    context: &Context,
    admin: &mut Administration,
) -> Result<(), StepError> {
    let claimed = warm_databases::claimed_by(&context.registry().await?, context.tenant_id).await?;
    if let Some(warm) = claimed {
        admin.drop_database(&warm.name).await?;
        warm_databases::forget(&context.registry().await?, &warm.name).await?;
    }
    Ok(())
}
