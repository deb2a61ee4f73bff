//! The history of every attempt to make a tenant: a run and its steps.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

pub use super::entities::provisioning_runs::{Model as Run, Status as RunStatus};
pub use super::entities::provisioning_steps::{Model as Step, Status as StepStatus};
use super::entities::{provisioning_runs as runs, provisioning_steps as steps};
use super::{OnRegistry, RegistryError};
use crate::identifiers::TenantId;

/// Writes a run with all its steps before the first of them begins.
pub async fn create(
    db: &impl OnRegistry,
    id: Uuid,
    tenant: TenantId,
    step_names: impl IntoIterator<Item = &'static str>,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let run = runs::ActiveModel {
        id: Set(id),
        kind: Set("create_tenant".to_owned()),
        tenant_id: Set(tenant.0),
        status: Set(RunStatus::Pending),
        error_code: Set(None),
        error_detail: Set(None),
        created_at: Set(now),
        finished_at: Set(None),
    };
    runs::Entity::insert(run).exec_without_returning(db).await?;
    let rows = (0..).zip(step_names).map(|(position, name)| steps::ActiveModel {
        run_id: Set(id),
        position: Set(position),
        name: Set(name.to_owned()),
        status: Set(StepStatus::Pending),
        attempts: Set(0),
        started_at: Set(None),
        finished_at: Set(None),
    });
    steps::Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}

/// Records where a run stands; `error` is what a client may read of a failure.
pub async fn record_run(
    db: &impl OnRegistry,
    id: Uuid,
    status: RunStatus,
    error: Option<(&str, &str)>,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let mut row = runs::ActiveModel { status: Set(status), ..Default::default() };
    if let Some((code, detail)) = error {
        row.error_code = Set(Some(code.to_owned()));
        row.error_detail = Set(Some(detail.to_owned()));
    }
    if matches!(status, RunStatus::Completed | RunStatus::Failed) {
        row.finished_at = Set(Some(now));
    }
    runs::Entity::update_many().set(row).filter(runs::Column::Id.eq(id)).exec(db).await?;
    Ok(())
}

/// Records where a step stands, after how many attempts.
pub async fn record_step(
    db: &impl OnRegistry,
    run: Uuid,
    position: i32,
    status: StepStatus,
    attempts: i32,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let mut row =
        steps::ActiveModel { status: Set(status), attempts: Set(attempts), ..Default::default() };
    match status {
        StepStatus::Running => row.started_at = Set(Some(now)),
        StepStatus::Pending => {}
        _ => row.finished_at = Set(Some(now)),
    }
    steps::Entity::update_many()
        .set(row)
        .filter(steps::Column::RunId.eq(run))
        .filter(steps::Column::Position.eq(position))
        .exec(db)
        .await?;
    Ok(())
}

/// A run and its steps, in order.
pub async fn find(
    db: &impl OnRegistry,
    id: Uuid,
) -> Result<Option<(Run, Vec<Step>)>, RegistryError> {
    let Some(run) = runs::Entity::find_by_id(id).one(db).await? else {
        return Ok(None);
    };
    let steps = steps::Entity::find()
        .filter(steps::Column::RunId.eq(id))
        .order_by_asc(steps::Column::Position)
        .all(db)
        .await?;
    Ok(Some((run, steps)))
}
