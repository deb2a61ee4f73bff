//! Mending a tenant that is damaged: whatever is missing is made, whatever is there stays. Nothing of it is ever undone
//! but the status, because what was there before belongs to the tenant.

use std::time::Duration;

use futures_util::FutureExt;
use sea_orm::ActiveEnum;

use super::{
    Context, DATABASE, Retries, SagaStep, StepError, StepOutput, database, owner_row,
    reprovision_input, role, schema, seed, without_undo,
};
use crate::fleet::{template, untouched};
use crate::postgres::administration::{Administration, DatabaseAssignment};
use crate::registry::inbox::clerk;
use crate::registry::tenants::Status;
use crate::registry::tenants::email_index;
use crate::tenant_data::staff;

/// Nobody is served while it is mended.
pub(crate) const HOLD: SagaStep = SagaStep {
    name: "hold",
    apply: |context| check_lease(context).boxed(),
    undo: |context| give_up(context).boxed(),
    retries: Retries::DATABASE,
};
pub(crate) const ROLE: SagaStep = without_undo("mend_role", |context| role::apply(context).boxed());
pub(crate) const DATABASE_STEP: SagaStep =
    without_undo("mend_database", |context| mend_database(context).boxed());
pub(crate) const SCHEMA: SagaStep = SagaStep {
    // Migrations of a tenant with much in it.
    retries: Retries { timeout: Duration::from_secs(30 * 60), ..Retries::DATABASE },
    ..without_undo("mend_schema", |context| mend_schema(context).boxed())
};
pub(crate) const PRESEED: SagaStep =
    without_undo("mend_preseed", |context| seed::verify_mended(context).boxed());
pub(crate) const OWNER: SagaStep =
    without_undo("mend_owner", |context| mend_owner(context).boxed());
pub(crate) const RELEASE: SagaStep = without_undo("release", |context| release(context).boxed());

/// What it is when it is whole again.
fn former(context: &Context) -> Result<Status, StepError> {
    Ok(match reprovision_input(context)?.former() {
        Some(Status::Suspended) => Status::Suspended,
        _ => Status::Active,
    })
}

async fn check_lease(context: &Context) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    match tenant.status {
        Status::Provisioning => Ok(StepOutput::nothing_more()),
        Status::Active | Status::Suspended | Status::Failed => {
            // In the end it becomes again what it was when this was planned: a suspension since then must last.
            if reprovision_input(context)?.status != tenant.status.to_value() {
                return Err(StepError::Permanent("its status has changed meanwhile".to_owned()));
            }
            Ok(StepOutput::moved(tenant.status, Status::Provisioning))
        }
        other => Err(StepError::Permanent(format!("a tenant that is {other:?} cannot be mended"))),
    }
}

/// A suspended tenant stays suspended, and one whose mending was called off what it was; any other could not be mended,
/// and says so.
async fn give_up(context: &Context) -> Result<StepOutput, StepError> {
    let to = match reprovision_input(context).ok().and_then(|input| input.former()) {
        Some(Status::Suspended) => Status::Suspended,
        // Nobody has said that it could not be mended.
        Some(former) if context.is_cancelled().await? => former,
        _ => Status::Failed,
    };
    Ok(StepOutput::moved(Status::Provisioning, to))
}

async fn mend_database(context: &Context) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    let target = context.server_of(&tenant).await?;
    let mut admin = context.administer(target).await?;
    let is_there = admin.database_exists(&tenant.database_name).await?;
    let mark = context.services.fleet.mark();
    let name = tenant.database_name.as_str();
    if !is_there {
        admin.keep();
        if !reprovision_input(context)?.accept_empty {
            return Err(StepError::Permanent(format!(
                "the database {name} is missing: restore it from a backup, or accept an empty one \
                 (`narthex tenants provision` with --accept-empty-database)"
            )));
        }
        return database::apply(context).await;
    }
    // Before anybody gets a right to it: is it this tenant's at all?
    admin.open_to_administration(name).await?;
    let mut inside = target.server.connect(name).await?;
    schema::expect_ours(context, &mut inside).await?;
    if reprovision_input(context)?.accept_empty {
        expect_no_strangers(name, &mut inside).await?;
    }
    inside.close().await;
    admin
        .assign_database(&DatabaseAssignment {
            database: name,
            role: &tenant.role_name,
            mark: &mark,
        })
        .await?;
    database::drop_claimed_database(context, &mut admin).await?;
    admin.keep();
    Ok(StepOutput::made(DATABASE, name, Some(target.row.id)))
}

/// Where an empty database is accepted, one that names no owner may be what an attempt before has left before it looked into
/// it. It is not dropped: it may be a backup of the tenant's that somebody has restored.
async fn expect_no_strangers(name: &str, inside: &mut Administration) -> Result<(), StepError> {
    if !schema::is_nobodys(inside).await? {
        return Ok(());
    }
    match untouched::foreign_content(inside).await? {
        foreign if foreign.is_empty() => Ok(()),
        foreign => Err(StepError::Permanent(format!(
            "the database {name} names no owner and holds what no seed has written ({foreign:?}): drop it, or mend the tenant without \
             accepting an empty database if they are the tenant's"
        ))),
    }
}

/// Applies what is pending, with the grants and the preseed of a new tenant.
async fn mend_schema(context: &Context) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    let target = context.server_of(&tenant).await?;
    let admin = context.administer(target).await?;
    let mut inside = target.server.connect(&tenant.database_name).await?;
    schema::expect_ours(context, &mut inside).await?;
    let version = schema::bring_up_to_date(target, &tenant, &mut inside).await?;
    // What a later version of the program has left out, this one must not grant.
    if version == template::schema_version() {
        template::grant_and_seed(&mut inside).await?;
    }
    schema::identify(context, &mut inside).await?;
    inside.close().await;
    admin.keep();
    schema::record_version(context, &tenant, &version).await?;
    Ok(StepOutput::nothing_more())
}

/// For a tenant that has nobody. The address leads to the tenant before there is somebody to let in.
async fn mend_owner(context: &Context) -> Result<StepOutput, StepError> {
    let Some(owner) = &reprovision_input(context)?.owner else {
        return Ok(StepOutput::nothing_more());
    };
    let (db, now, row) =
        (context.tenant_db().await?, context.services.clock.now(), owner_row(owner)?);
    if staff::is_empty(db).await? {
        let hash = context.services.registry.hasher().email(&row.email);
        let registry = context.registry().await?;
        email_index::add(&registry, hash, context.tenant_id, now).await?;
        drop(registry);
        staff::add(db, &row, now).await?;
    }
    Ok(StepOutput::nothing_more())
}

async fn release(context: &Context) -> Result<StepOutput, StepError> {
    let db = context.registry().await?;
    clerk::settle_again(&db, context.tenant_id, context.services.clock.now()).await?;
    Ok(StepOutput::moved(Status::Provisioning, former(context)?))
}
