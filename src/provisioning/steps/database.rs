//! The tenant's database: a spare that is renamed, else a copy of the template. It is closed until it is proven that nobody
//! has written into it; then its own role, and no other, may connect to it.

use futures_util::FutureExt;
use sea_orm::{TransactionSession, TransactionTrait};
use uuid::Uuid;

use super::{Context, DATABASE, Done, Retries, SagaStep, StepError, schema};
use crate::fleet::{self, template, untouched};
use crate::postgres::administration::{Administration, Handover};
use crate::provisioning::context::Place;
use crate::registry::tenants::Tenant;
use crate::registry::tenants::spare_databases::{self, SpareDatabase};

pub(crate) const STEP: SagaStep = SagaStep {
    name: "database",
    apply: |context| apply(context).boxed(),
    undo: |context| undo(context).boxed(),
    retries: Retries::DATABASE,
};

pub(super) async fn apply(context: &Context) -> Result<Done, StepError> {
    let tenant = context.tenant().await?;
    let place = context.place_of(&tenant).await?;
    let mut seat = context.administer(place).await?;
    let (name, template) = (tenant.database_name.as_str(), template::name(&place.server));
    let mut inside = None;
    if seat.database_exists(name).await? {
        // An attempt before has left it, and perhaps a spare that it had claimed as well.
        discard_claimed_spare(context).await?;
        inside = enter_untouched(context, place, &tenant, &template, &mut seat).await?;
    }
    while inside.is_none()
        && let Some(spare) = claim_spare(context, place.row.id, &template).await?
    {
        if take_spare(context, &mut seat, &spare, name).await? {
            inside = enter_untouched(context, place, &tenant, &template, &mut seat).await?;
        }
    }
    if inside.is_none() {
        template::ensure_by(&mut seat, &place.server).await?;
        seat.copy_database(&template, name).await?;
        inside = enter_untouched(context, place, &tenant, &template, &mut seat).await?;
    }
    let inside = inside.ok_or_else(|| {
        StepError::Final(format!(
            "a copy of {template} holds what no seed has written: drop that database, and it is built anew"
        ))
    })?;
    let mark = context.services.fleet.mark();
    let role = &tenant.role_name;
    seat.hand_over(&Handover { database: name, role, mark: &mark }).await?;
    context.leave_inside(inside).await;
    seat.keep();
    Ok(Done::made(DATABASE, name, Some(place.row.id)))
}

/// A spare gets the tenant's name. `false`: it is gone, or could not be renamed and is left to be removed.
async fn take_spare(
    context: &Context,
    seat: &mut Administration,
    spare: &SpareDatabase,
    name: &str,
) -> Result<bool, StepError> {
    let is_there = seat.database_exists(&spare.name).await?;
    if is_there {
        match seat.take_over(&spare.name, name).await {
            Ok(()) => {}
            Err(error) if error.is_of_object() => {
                tracing::error!(spare = spare.name, %error, "ALARM: a warm database cannot be renamed; it is removed, and another one taken");
                spare_databases::discard(&context.registry().await?, &spare.name).await?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
    }
    spare_databases::forget(&context.registry().await?, &spare.name).await?;
    Ok(is_there)
}

/// Opens the database, which bears the tenant's name by now, to the administration alone, and looks into it. `None`:
/// somebody has written into it, so that it was set aside.
async fn enter_untouched(
    context: &Context,
    place: &Place,
    tenant: &Tenant,
    template: &str,
    seat: &mut Administration,
) -> Result<Option<Administration>, StepError> {
    let name = tenant.database_name.as_str();
    seat.open_to_administration(name).await?;
    let mut inside = context.enter(place, tenant).await?;
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
    set_aside(context, place, template, name, seat).await?;
    Ok(None)
}

/// Gives the database another name, under which it is closed and waits to be dropped with the spares that are of no use:
/// a drop can take as long as the server's next checkpoint. Cut off, the row says whose it was, and the next attempt
/// finds it there.
async fn set_aside(
    context: &Context,
    place: &Place,
    template: &str,
    name: &str,
    seat: &mut Administration,
) -> Result<(), StepError> {
    let (aside, wanted) = (fleet::new_name(), fleet::wanted(place.row.id, template));
    let (db, now) = (context.registry().await?, context.services.clock.now());
    let transaction = db.begin().await?;
    context.hold(&transaction).await?;
    let tenant = context.tenant_id;
    spare_databases::set_aside(&transaction, &aside, &wanted.as_ref(), tenant, now).await?;
    transaction.commit().await?;
    drop(db);
    seat.take_over(name, &aside).await?;
    seat.put_aside(&aside, &context.services.fleet.mark()).await?;
    spare_databases::discard(&context.registry().await?, &aside).await?;
    Ok(())
}

/// Only for a run that is still ours when it commits: whoever undoes the run finds what it has claimed.
async fn claim_spare(
    context: &Context,
    server: Uuid,
    template: &str,
) -> Result<Option<SpareDatabase>, StepError> {
    let db = context.registry().await?;
    let transaction = db.begin().await?;
    context.hold(&transaction).await?;
    let wanted = fleet::wanted(server, template);
    let tenant = context.tenant_id;
    let spare = spare_databases::claim(&transaction, tenant, &wanted.as_ref()).await?;
    transaction.commit().await?;
    Ok(spare)
}

pub(super) async fn undo(context: &Context) -> Result<Done, StepError> {
    // Without a row nothing was made: the row comes first, and goes last.
    if let Some(tenant) = context.find_doomed().await? {
        let place = context.place_of(&tenant).await?;
        let mut seat = context.administer(place).await?;
        seat.drop_database(&tenant.database_name).await?;
        drop_claimed_spare(context, &mut seat).await?;
        seat.keep();
    }
    Ok(Done::released(DATABASE))
}

/// Leaves a spare that the tenant was given, and that is not its database, to be removed.
async fn discard_claimed_spare(context: &Context) -> Result<(), StepError> {
    let db = context.registry().await?;
    if let Some(spare) = spare_databases::claimed_by(&db, context.tenant_id).await? {
        spare_databases::discard(&db, &spare.name).await?;
    }
    Ok(())
}

/// A spare that the tenant was given and has not become its database is of no use to anybody.
pub(super) async fn drop_claimed_spare(
    context: &Context,
    seat: &mut Administration,
) -> Result<(), StepError> {
    let claimed =
        spare_databases::claimed_by(&context.registry().await?, context.tenant_id).await?;
    if let Some(spare) = claimed {
        seat.drop_database(&spare.name).await?;
        spare_databases::forget(&context.registry().await?, &spare.name).await?;
    }
    Ok(())
}
