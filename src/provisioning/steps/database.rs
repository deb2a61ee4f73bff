//! The tenant's database: a spare that is renamed, else a copy of the template. It is closed until it is proven that nobody
//! has written into it; then its own role, and no other, may connect to it.

use futures_util::FutureExt;
use sea_orm::{TransactionSession, TransactionTrait};
use uuid::Uuid;

use super::{Context, DATABASE, Retries, SagaStep, StepError, StepOutput, schema};
use crate::fleet::{self, template, untouched};
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
        // An attempt before has left it, and perhaps a spare that it had claimed as well.
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

/// A spare gets the tenant's name. `false`: it is gone, or could not be renamed and is left to be removed.
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

/// Opens the database, which bears the tenant's name by now, to the administration alone, and looks into it. `None`:
/// somebody has written into it, so that it was set aside.
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
    // A tenant's own database is never set aside here.
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

/// Gives the database another name, under which it is closed and waits to be dropped with the spares that are of no use:
/// a drop can take as long as the server's next checkpoint. Cut off, the row says whose it was, and the next attempt
/// finds it there.
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

/// Only for a run that is still ours when it commits: whoever undoes the run finds what it has claimed.
async fn claim_warm_database(
    context: &Context,
    server: Uuid,
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
    // Without a row nothing was made: the row comes first, and goes last.
    if let Some(tenant) = context.find_purgeable().await? {
        let target = context.server_of(&tenant).await?;
        let mut admin = context.administer(target).await?;
        admin.drop_database(&tenant.database_name).await?;
        drop_claimed_database(context, &mut admin).await?;
        admin.keep();
    }
    Ok(StepOutput::released(DATABASE))
}

/// Leaves a spare that the tenant was given, and that is not its database, to be removed.
async fn discard_claimed_database(context: &Context) -> Result<(), StepError> {
    let db = context.registry().await?;
    if let Some(warm) = warm_databases::claimed_by(&db, context.tenant_id).await? {
        warm_databases::discard(&db, &warm.name).await?;
    }
    Ok(())
}

/// A spare that the tenant was given and has not become its database is of no use to anybody.
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
