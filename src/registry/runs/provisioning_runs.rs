//! The record of provisioning: every run with its steps and its history. It outlives the resources
//! of the run. [`super::run_leases`] makes one process at a time work on a run.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};

use crate::identifiers::{RunId, TenantId};
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::postgres::failure;
pub use crate::registry::entities::provisioning_events::Model as Event;
pub use crate::registry::entities::provisioning_runs::{
    Kind as RunKind, Model as Run, Status as RunStatus,
};
pub use crate::registry::entities::provisioning_steps::{Model as Step, Status as StepStatus};
use crate::registry::entities::{
    provisioning_events as events, provisioning_runs as runs, provisioning_steps as steps,
};
use crate::registry::{OnRegistry, RegistryError};

/// A run that is about to be recorded.
pub struct NewRun<'a> {
    /// The id of the run.
    pub id: RunId,
    /// The purpose of the run.
    pub kind: RunKind,
    /// The version of the run's definition.
    pub version: i32,
    /// The tenant that the run concerns.
    pub tenant: TenantId,
    /// The input of its steps, sealed. `None` if they need none.
    pub sealed_input: Option<Vec<u8>>,
    /// The names of the steps, in order. They are fixed from now on, even if later versions of the
    /// program have other steps.
    pub steps: &'a [&'a str],
}

/// Another run of the same tenant is open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("another run of this tenant still goes on")]
pub struct TenantBusy;

const CREATE: &str = "
WITH run AS (
    INSERT INTO provisioning_runs (id, kind, version, tenant_id, status, sealed_input, created_at, next_attempt_at)
    VALUES ($1, $2, $3, $4, 'pending', $5, $6, clock_timestamp()) RETURNING id
), noted AS (
    INSERT INTO provisioning_events (run_id, event, actor) SELECT id, 'planned', $8 FROM run
)
INSERT INTO provisioning_steps (run_id, position, name, status)
SELECT run.id, step.position - 1, step.name, 'pending' FROM run, unnest($7::text[]) WITH ORDINALITY AS step (name, position)
";

/// Records a run with all its steps, before the first one begins. `actor` is the process or person
/// that requested it.
pub async fn create(
    db: &impl OnRegistry,
    new: NewRun<'_>,
    actor: &str,
    now: DateTime<Utc>,
) -> Result<Result<(), TenantBusy>, RegistryError> {
    let names: Vec<String> = new.steps.iter().map(|name| (*name).to_owned()).collect();
    let values: [sea_orm::Value; 8] = [
        new.id.into(),
        sea_orm::ActiveEnum::to_value(&new.kind).into(),
        new.version.into(),
        new.tenant.0.into(),
        new.sealed_input.into(),
        now.into(),
        names.into(),
        actor.into(),
    ];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, CREATE, values);
    match db.execute_raw(statement).await {
        Ok(_) => Ok(Ok(())),
        Err(e) if failure::violated_unique_constraint(&e) == Some("provisioning_runs_one_open") => {
            Ok(Err(TenantBusy))
        }
        Err(e) => Err(e.into()),
    }
}

/// A run and its steps, in order. `None` if there is no such run.
pub async fn find(
    db: &impl OnRegistry,
    id: RunId,
) -> Result<Option<(Run, Vec<Step>)>, RegistryError> {
    let Some(run) = runs::Entity::find_by_id(id).one(db).await? else {
        return Ok(None);
    };
    Ok(Some((run, steps_of(db, id).await?)))
}

/// The steps of a run, in order.
pub async fn steps_of(db: &impl OnRegistry, run: RunId) -> Result<Vec<Step>, RegistryError> {
    Ok(steps::Entity::find()
        .filter(steps::Column::RunId.eq(run))
        .order_by_asc(steps::Column::Position)
        .all(db)
        .await?)
}

/// Selects runs. A field that is `None` selects all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Runs in this status.
    pub status: Option<RunStatus>,
    /// Runs of this kind.
    pub kind: Option<RunKind>,
    /// Runs of this tenant.
    pub tenant: Option<TenantId>,
}

/// Runs, the newest first.
pub async fn list(
    db: &impl OnRegistry,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Run>, RegistryError> {
    Ok(page(db, filter, PageRequest { limit, after: None }).await?.rows)
}

/// One page of runs, the newest first.
pub async fn page(
    db: &impl OnRegistry,
    filter: &Filter,
    page: PageRequest,
) -> Result<Page<Run>, RegistryError> {
    let wanted = Condition::all()
        .add_option(filter.status.map(|status| runs::Column::Status.eq(status)))
        .add_option(filter.kind.map(|kind| runs::Column::Kind.eq(kind)))
        .add_option(filter.tenant.map(|tenant| runs::Column::TenantId.eq(tenant)));
    let position = |run: &Run| Position { at: run.created_at, id: run.id.0 };
    Ok(newest_first(db, runs::Entity::find().filter(wanted), page, position).await?)
}

/// The newest entries that are returned of a run that was tried again for weeks.
const NEWEST_EVENTS: u64 = 1000;

/// The history of a run, the oldest entry first.
pub async fn history(db: &impl OnRegistry, run: RunId) -> Result<Vec<Event>, RegistryError> {
    let newest = events::Entity::find()
        .filter(events::Column::RunId.eq(run))
        .order_by_desc(events::Column::Id)
        .limit(NEWEST_EVENTS);
    let mut events = newest.all(db).await?;
    events.reverse();
    Ok(events)
}

const FORGET_FRUITLESS: &str = "
DELETE FROM provisioning_runs WHERE id IN (SELECT id FROM provisioning_runs AS run
    WHERE status = 'failed' AND kind = 'create_tenant' AND finished_at < clock_timestamp() - make_interval(secs => $1)
      AND NOT EXISTS (SELECT FROM tenants WHERE tenants.id = run.tenant_id)
      AND NOT EXISTS (SELECT FROM resources WHERE resources.tenant_id = run.tenant_id AND released_at IS NULL)
      AND NOT EXISTS (SELECT FROM clerk_organizations WHERE clerk_organizations.run_id = run.id)
    LIMIT 10000)
";

/// Deletes, with their history, runs of failed registrations that ended longer than `kept_for` ago,
/// some thousands at a time. Returns their number.
pub async fn delete_failed_registrations(
    db: &impl OnRegistry,
    kept_for: Duration,
) -> Result<u64, RegistryError> {
    let values = [kept_for.as_secs_f64().into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, FORGET_FRUITLESS, values);
    Ok(db.execute_raw(statement).await?.rows_affected())
}

const RETRY_NOW: &str = "
WITH hastened AS (
    UPDATE provisioning_runs SET next_attempt_at = clock_timestamp()
    WHERE id = $1 AND status IN ('pending', 'running', 'compensating') RETURNING id
)
INSERT INTO provisioning_events (run_id, event, actor) SELECT id, 'retry_requested', $2 FROM hastened
";

/// Makes the next attempt of a run due now. `false` if the run has ended.
pub async fn retry_now(
    db: &impl OnRegistry,
    id: RunId,
    actor: &str,
) -> Result<bool, RegistryError> {
    let values = [id.into(), actor.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, RETRY_NOW, values);
    Ok(db.execute_raw(statement).await?.rows_affected() == 1)
}

/// Why a run is not cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCancelled {
    /// The run has ended.
    #[error("it has ended already")]
    Ended,
    /// The steps of the run are being undone.
    #[error("it is being undone already")]
    BeingUndone,
    /// The cancellation was requested before.
    #[error("it is cancelled already, and will be undone before its next step")]
    Already,
    /// The resources that it has removed cannot be restored.
    #[error("a run that purges a tenant only goes forward")]
    OnlyForward,
    /// There is no such run.
    #[error("there is no such run")]
    Unknown,
}

const CANCEL: &str = "
WITH cancelled AS (
    UPDATE provisioning_runs SET cancel_requested_at = $3, next_attempt_at = clock_timestamp()
    WHERE id = $1 AND status IN ('pending', 'running') AND kind <> 'purge_tenant' AND cancel_requested_at IS NULL
    RETURNING id
)
INSERT INTO provisioning_events (run_id, event, actor) SELECT id, 'cancel_requested', $2 FROM cancelled
";

/// Requests that a run is undone instead of finished. It is undone unless it has begun its last
/// step.
pub async fn cancel(
    db: &impl OnRegistry,
    id: RunId,
    actor: &str,
    now: DateTime<Utc>,
) -> Result<Result<(), NotCancelled>, RegistryError> {
    let values = [id.into(), actor.into(), now.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, CANCEL, values);
    if db.execute_raw(statement).await?.rows_affected() == 1 {
        return Ok(Ok(()));
    }
    let Some(run) = runs::Entity::find_by_id(id).one(db).await? else {
        return Ok(Err(NotCancelled::Unknown));
    };
    Ok(Err(match run.status {
        RunStatus::Completed | RunStatus::Failed => NotCancelled::Ended,
        _ if run.kind == RunKind::PurgeTenant => NotCancelled::OnlyForward,
        RunStatus::Compensating => NotCancelled::BeingUndone,
        RunStatus::Pending | RunStatus::Running => NotCancelled::Already,
    }))
}

/// The number of open runs by status, and the age of the oldest.
#[derive(Clone, Copy, Debug, Default, FromQueryResult)]
pub struct OpenRuns {
    /// Runs that have not begun.
    pub pending: i64,
    /// Runs in progress.
    pub running: i64,
    /// Runs that are being undone.
    pub compensating: i64,
    /// Seconds since the oldest of the open runs was planned.
    pub oldest_seconds: f64,
}

/// Counts the open runs.
pub async fn open_runs(db: &impl OnRegistry) -> Result<OpenRuns, RegistryError> {
    const SQL: &str = "SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
        count(*) FILTER (WHERE status = 'running') AS running,
        count(*) FILTER (WHERE status = 'compensating') AS compensating,
        coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS oldest_seconds
        FROM provisioning_runs WHERE status IN ('pending', 'running', 'compensating')";
    let statement = Statement::from_string(DbBackend::Postgres, SQL);
    Ok(OpenRuns::find_by_statement(statement).one(db).await?.unwrap_or_default())
}
