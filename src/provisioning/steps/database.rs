//! The tenant's database: a spare that is renamed, else a copy of the template. Its own role, and no other, may
//! connect to it.

use futures_util::FutureExt;

use super::{Context, DATABASE, Done, Retries, SagaStep, StepError};
use crate::postgres::administration::Handover;
use crate::provisioning::{spares, template};
use crate::registry::spare_databases;

pub(crate) const STEP: SagaStep = SagaStep {
    name: "database",
    apply: |context| apply(context).boxed(),
    undo: |context| undo(context).boxed(),
    retries: Retries::DATABASE,
};

pub(super) async fn apply(context: &Context) -> Result<Done, StepError> {
    let tenant = context.tenant().await?;
    let (row, server) = context.server_of(&tenant).await?;
    let mut seat = context.administer(&server).await?;
    let template = template::name(&server);
    let db = context.registry().await?;
    let wanted = spares::wanted(row.id, &template);
    let spare = spare_databases::claim(&db, context.tenant_id, &wanted.as_ref()).await?;
    drop(db);
    let mark = context.tools.mark();
    let mut handover =
        Handover { from: None, to: &tenant.database_name, role: &tenant.role_name, mark: &mark };
    if !seat.database_exists(&tenant.database_name).await? {
        match &spare {
            Some(spare) if seat.database_exists(&spare.name).await? => {
                handover.from = Some(&spare.name);
            }
            _ => {
                template::ensure(&server).await?;
                seat.copy_database(&template, &tenant.database_name).await?;
            }
        }
    }
    seat.hand_over(&handover).await?;
    seat.keep();
    if let Some(spare) = spare {
        spare_databases::forget(&context.registry().await?, &spare.name).await?;
    }
    Ok(Done::made(DATABASE, &tenant.database_name, Some(row.id)))
}

pub(super) async fn undo(context: &Context) -> Result<Done, StepError> {
    // Without a row nothing was made: the row comes first, and goes last.
    if let Some(tenant) = context.find_tenant().await? {
        let (_, server) = context.server_of(&tenant).await?;
        let mut seat = context.administer(&server).await?;
        seat.drop_database(&tenant.database_name).await?;
        let db = context.registry().await?;
        if let Some(spare) = spare_databases::claimed_by(&db, context.tenant_id).await? {
            seat.drop_database(&spare.name).await?;
            spare_databases::forget(&db, &spare.name).await?;
        }
        seat.keep();
    }
    Ok(Done::released(DATABASE))
}
