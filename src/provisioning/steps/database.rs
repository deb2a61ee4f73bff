//! The tenant's database: a spare that is renamed, else a copy of the template. Its own role, and no other, may
//! connect to it.

use futures_util::FutureExt;
use sea_orm::{TransactionSession, TransactionTrait};
use uuid::Uuid;

use super::{Context, DATABASE, Done, Retries, SagaStep, StepError};
use crate::postgres::administration::{Administration, Handover};
use crate::provisioning::{spares, template};
use crate::registry::spare_databases::{self, SpareDatabase};

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
    let template = template::name(&place.server);
    let is_there = seat.database_exists(&tenant.database_name).await?;
    let spare = match is_there {
        true => spare_databases::claimed_by(&context.registry().await?, context.tenant_id).await?,
        false => claim_spare(context, place.row.id, &template).await?,
    };
    let spare_is_there = match &spare {
        Some(spare) => seat.database_exists(&spare.name).await?,
        None => false,
    };
    let renamed = spare.as_ref().filter(|_| spare_is_there && !is_there);
    if !is_there && renamed.is_none() {
        template::ensure_by(&mut seat, &place.server).await?;
        seat.copy_database(&template, &tenant.database_name).await?;
    }
    seat.hand_over(&Handover {
        from: renamed.map(|spare| spare.name.as_str()),
        to: &tenant.database_name,
        role: &tenant.role_name,
        mark: &context.tools.mark(),
    })
    .await?;
    if let Some(spare) = &spare {
        // Of no use to a tenant that has its database.
        if spare_is_there && renamed.is_none() {
            seat.drop_database(&spare.name).await?;
        }
        spare_databases::forget(&context.registry().await?, &spare.name).await?;
    }
    seat.keep();
    Ok(Done::made(DATABASE, &tenant.database_name, Some(place.row.id)))
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
    let wanted = spares::wanted(server, template);
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

/// A spare that the tenant was given and has not become its database is of no use to anybody.
pub(super) async fn drop_claimed_spare(
    context: &Context,
    seat: &mut Administration,
) -> Result<(), StepError> {
    let db = context.registry().await?;
    if let Some(spare) = spare_databases::claimed_by(&db, context.tenant_id).await? {
        seat.drop_database(&spare.name).await?;
        spare_databases::forget(&db, &spare.name).await?;
    }
    Ok(())
}
