//! Mending a tenant that is damaged: whatever is missing is made, whatever is there stays. Nothing of it is ever undone
//! but the status, because what was there before belongs to the tenant.

use futures_util::FutureExt;

use super::{
    Context, DATABASE, Done, Retries, SagaStep, StepError, database, nothing_to_undo, owner_row,
    preseed, reprovision_input, role, schema,
};
use crate::postgres::administration::Handover;
use crate::postgres::migrating;
use crate::provisioning::template;
use crate::registry::tenants::{self, Status};
use crate::tenant_data::staff;

const fn step(
    name: &'static str,
    apply: for<'a> fn(&'a Context) -> crate::provisioning::saga::StepFuture<'a>,
) -> SagaStep {
    SagaStep { name, apply, undo: nothing_to_undo, retries: Retries::DATABASE }
}

/// Nobody is served while it is mended.
pub(crate) const HOLD: SagaStep = SagaStep {
    name: "hold",
    apply: |context| hold(context).boxed(),
    undo: |context| give_up(context).boxed(),
    retries: Retries::DATABASE,
};
pub(crate) const ROLE: SagaStep = step("mend_role", |context| role::apply(context).boxed());
pub(crate) const DATABASE_STEP: SagaStep =
    step("mend_database", |context| mend_database(context).boxed());
pub(crate) const SCHEMA: SagaStep = step("mend_schema", |context| mend_schema(context).boxed());
pub(crate) const PRESEED: SagaStep =
    step("mend_preseed", |context| preseed::verify(context).boxed());
pub(crate) const OWNER: SagaStep = step("mend_owner", |context| mend_owner(context).boxed());
pub(crate) const RELEASE: SagaStep = step("release", |context| release(context).boxed());

fn former(context: &Context) -> Result<Status, StepError> {
    Ok(match reprovision_input(context)?.was_suspended() {
        true => Status::Suspended,
        false => Status::Active,
    })
}

async fn hold(context: &Context) -> Result<Done, StepError> {
    let tenant = context.tenant().await?;
    match tenant.status {
        Status::Provisioning => Ok(Done::nothing_more()),
        Status::Active | Status::Suspended | Status::Failed => {
            Ok(Done::moved(tenant.status, Status::Provisioning))
        }
        other => Err(StepError::Final(format!("a tenant that is {other:?} cannot be mended"))),
    }
}

/// A suspended tenant stays suspended; any other could not be mended, and says so.
async fn give_up(context: &Context) -> Result<Done, StepError> {
    let was_suspended = reprovision_input(context).is_ok_and(|input| input.was_suspended());
    let to = if was_suspended { Status::Suspended } else { Status::Failed };
    Ok(Done::moved(Status::Provisioning, to))
}

async fn mend_database(context: &Context) -> Result<Done, StepError> {
    let tenant = context.tenant().await?;
    let place = context.place_of(&tenant).await?;
    let mut seat = context.administer(&place).await?;
    let is_there = seat.database_exists(&tenant.database_name).await?;
    let mark = context.tools.mark();
    let name = tenant.database_name.as_str();
    seat.keep();
    if !is_there {
        if !reprovision_input(context)?.accept_empty {
            return Err(StepError::Final(format!(
                "the database {name} is missing: restore it from a backup, or accept an empty one"
            )));
        }
        return database::apply(context).await;
    }
    let mut seat = context.administer(&place).await?;
    seat.hand_over(&Handover { from: None, to: name, role: &tenant.role_name, mark: &mark })
        .await?;
    seat.keep();
    Ok(Done::made(DATABASE, name, Some(place.id)))
}

/// Applies what is pending, with the grants and the preseed of a new tenant.
async fn mend_schema(context: &Context) -> Result<Done, StepError> {
    let tenant = context.tenant().await?;
    let place = context.place_of(&tenant).await?;
    let seat = context.administer(&place).await?;
    let name = &tenant.database_name;
    let mut inside = place.server.connect(name).await?;
    // Before anything is changed in it: is it this tenant's at all?
    if inside.has_table("tenant_identity").await? {
        schema::identify(context, &mut inside).await?;
    }
    migrating::migrate::<tenant_migrations::Migrator>(place.server.options_for(name)).await?;
    template::furnish(&mut inside).await?;
    schema::identify(context, &mut inside).await?;
    inside.close().await;
    seat.keep();
    let version = migrating::newest::<tenant_migrations::Migrator>();
    let (db, now) = (context.registry().await?, context.tools.clock.now());
    tenants::record_schema_version(&db, context.tenant_id, &version, now).await?;
    Ok(Done::nothing_more())
}

async fn mend_owner(context: &Context) -> Result<Done, StepError> {
    if let Some(owner) = &reprovision_input(context)?.owner {
        let db = context.tenant_db().await?;
        if staff::is_empty(db).await? {
            staff::add(db, &owner_row(owner)?, context.tools.clock.now()).await?;
        }
    }
    Ok(Done::nothing_more())
}

async fn release(context: &Context) -> Result<Done, StepError> {
    Ok(Done::moved(Status::Provisioning, former(context)?))
}
