//! The lease of a run. Only the process with the latest claim may work on the run. Each claim
//! raises the fence of the run, and writes with an older fence are refused. Leases and attempts are
//! timed by the registry's clock, so that the clocks of replicas do not matter for them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{DbBackend, FromQueryResult, Statement};
use serde::Serialize;

use super::provisioning_runs::{Run, RunKind, RunStatus, StepStatus};
use crate::identifiers::{RunId, ServerId};
use crate::registry::tenants::Status;
use crate::registry::{OnRegistry, RegistryError};

/// A worker's claim on a run.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The id of the run.
    pub run: RunId,
    /// The number of the claim. Each new claim of the run raises it.
    pub fence: i64,
    /// The name of the process.
    pub worker: String,
    /// How long the lease lasts after each renewal.
    pub lease: Duration,
}

/// Another process has the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease of the run was lost")]
pub struct LeaseLost;

fn seconds(duration: Duration) -> sea_orm::Value {
    duration.as_secs_f64().into()
}

/// Selects the runs that may be claimed.
#[derive(Clone, Copy, Debug)]
pub struct ClaimFilter<'a> {
    /// Only this run. `None`: any run.
    pub run: Option<RunId>,
    /// Only runs of these kinds in these versions. Other runs belong to another version of the
    /// program.
    pub known: &'a [(RunKind, i32)],
}

const CLAIM: &str = "
WITH claimed AS (
    UPDATE provisioning_runs SET lease_owner = $1, lease_until = clock_timestamp() + make_interval(secs => $2),
        fence = fence + 1, status = CASE status WHEN 'pending' THEN 'running' ELSE status END
    WHERE id = (SELECT id FROM provisioning_runs
        WHERE status IN ('pending', 'running', 'compensating') AND next_attempt_at <= clock_timestamp()
          AND (lease_until IS NULL OR lease_until < clock_timestamp())
          AND ($3::uuid IS NULL OR id = $3)
          AND (kind, version) IN (SELECT * FROM unnest($4::text[], $5::integer[]))
        ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING *
), noted AS (
    INSERT INTO provisioning_events (run_id, event, actor) SELECT id, 'claimed', $1 FROM claimed
)
SELECT * FROM claimed
";

/// Claims the run that has been due for the longest time and on which no process has a lease.
pub async fn claim(
    db: &impl OnRegistry,
    worker: &str,
    lease: Duration,
    due: ClaimFilter<'_>,
) -> Result<Option<(Claim, Run)>, RegistryError> {
    let (kinds, versions): (Vec<String>, Vec<i32>) = due
        .known
        .iter()
        .map(|(kind, version)| (sea_orm::ActiveEnum::to_value(kind), *version))
        .unzip();
    let values: [sea_orm::Value; 5] =
        [worker.into(), seconds(lease), due.run.into(), kinds.into(), versions.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, CLAIM, values);
    let run = Run::find_by_statement(statement).one(db).await?;
    Ok(run.map(|run| {
        let claim = Claim { run: run.id, fence: run.fence, worker: worker.to_owned(), lease };
        (claim, run)
    }))
}

const RENEW: &str = "
UPDATE provisioning_runs SET lease_until = clock_timestamp() + make_interval(secs => $3)
WHERE id = $1 AND fence = $2 AND lease_owner IS NOT NULL
";

/// Renews the lease of a worker.
pub async fn renew(
    db: &impl OnRegistry,
    claim: &Claim,
) -> Result<Result<(), LeaseLost>, RegistryError> {
    let values: [sea_orm::Value; 3] = [claim.run.into(), claim.fence.into(), seconds(claim.lease)];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, RENEW, values);
    let renewed = db.execute_raw(statement).await?.rows_affected() == 1;
    Ok(if renewed { Ok(()) } else { Err(LeaseLost) })
}

/// Checks inside a transaction that the worker has the lease, and keeps the lease until the
/// transaction ends.
pub async fn check_lease(
    transaction: &impl OnRegistry,
    claim: &Claim,
) -> Result<Result<(), LeaseLost>, RegistryError> {
    const SQL: &str = "SELECT 1 FROM provisioning_runs \
        WHERE id = $1 AND fence = $2 AND lease_owner IS NOT NULL FOR NO KEY UPDATE";
    let values: [sea_orm::Value; 2] = [claim.run.into(), claim.fence.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, values);
    Ok(transaction.query_one_raw(statement).await?.map(drop).ok_or(LeaseLost))
}

/// The new state of a step.
#[derive(Clone, Debug, Serialize)]
pub struct StepChange {
    /// The position of the step in its run, starting at 0.
    pub position: i32,
    /// The new status.
    pub status: StepStatus,
    /// The number of attempts at the step so far.
    pub attempts: i32,
    /// The number of attempts at undoing it so far.
    pub undo_attempts: i32,
    /// The error of the last attempt. `None` keeps the recorded error.
    pub last_error: Option<String>,
    /// The error of the last attempt at undoing it. `None` keeps the recorded error.
    pub undo_error: Option<String>,
    /// The time until the next attempt. `None` if there is none.
    pub retry_in_seconds: Option<f64>,
}

/// An entry in the history of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunEvent {
    /// The event in past tense, for example `step_completed`.
    pub event: &'static str,
    /// The name of the step. `None` if the event concerns the whole run.
    pub step: Option<String>,
    /// The number of the attempt, starting at 1.
    pub attempt: Option<i32>,
    /// A text for operators.
    pub detail: Option<String>,
}

/// A resource outside the registry that a step has created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    /// The kind of the resource: `database`, `role`, `dns`.
    pub kind: &'static str,
    /// The name of the resource on its server or at its service.
    pub reference: String,
    /// The database server that it is on. `None` for other resources.
    pub server_id: Option<ServerId>,
}

/// The progress of a run, recorded completely or not at all.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The new status of the run, if it has changed.
    pub status: Option<RunStatus>,
    /// Why the run failed: code and text for the client. A reason that is already recorded stays.
    pub error: Option<(&'static str, String)>,
    /// `Some`: the worker releases the lease, and the run is due after this time.
    pub reschedule: Option<Duration>,
    /// Steps whose state has changed.
    pub steps: Vec<StepChange>,
    /// Resources that were created.
    pub made: Vec<Made>,
    /// Kinds of resources that were removed.
    pub released: Vec<&'static str>,
    /// The change of the tenant's status, from the first to the second. It is part of the same
    /// statement, so that no reader sees the one without the other.
    pub tenant_status: Option<(Status, Status)>,
    /// Entries for the history.
    pub happened: Vec<RunEvent>,
}

/// Renews the lease, or releases it if the run is rescheduled (`$7`) or ends. If the cancellation
/// of a running run was requested, the run is due at once.
const ADVANCE: &str = "
WITH held AS (
    UPDATE provisioning_runs SET
        status = coalesce($4, status),
        error_code = coalesce(error_code, $5),
        error_detail = coalesce(error_detail, $6),
        lease_until = CASE WHEN $7::float8 IS NULL AND coalesce($4, '') NOT IN ('completed', 'failed')
            THEN clock_timestamp() + make_interval(secs => $3) END,
        lease_owner = CASE WHEN $7::float8 IS NULL AND coalesce($4, '') NOT IN ('completed', 'failed')
            THEN lease_owner END,
        next_attempt_at = CASE WHEN cancel_requested_at IS NOT NULL AND coalesce($4, status) = 'running'
            THEN clock_timestamp() ELSE coalesce(clock_timestamp() + make_interval(secs => $7), next_attempt_at) END,
        finished_at = CASE WHEN $4 IN ('completed', 'failed') THEN $8::timestamptz END,
        sealed_input = CASE WHEN $4 IN ('completed', 'failed') THEN NULL ELSE sealed_input END
    WHERE id = $1 AND fence = $2 AND lease_owner IS NOT NULL
    RETURNING id, tenant_id, $13::text AS worker, cancel_requested_at IS NOT NULL AS cancelled
), stepped AS (
    UPDATE provisioning_steps AS step SET status = change.status, attempts = change.attempts,
        undo_attempts = change.undo_attempts, last_error = coalesce(change.last_error, step.last_error),
        undo_error = coalesce(change.undo_error, step.undo_error),
        next_attempt_at = clock_timestamp() + make_interval(secs => change.retry_in_seconds),
        started_at = coalesce(step.started_at, CASE WHEN change.status <> 'pending' THEN $8 END),
        finished_at = CASE WHEN change.status NOT IN ('pending', 'running') THEN $8 END
    FROM held, jsonb_to_recordset($9) AS change (position integer, status text, attempts integer,
        undo_attempts integer, last_error text, undo_error text, retry_in_seconds float8)
    WHERE step.run_id = held.id AND step.position = change.position
), made AS (
    INSERT INTO resources (tenant_id, kind, reference, server_id, run_id, made_at)
    SELECT held.tenant_id, made.kind, made.reference, made.server_id, held.id, $8
    FROM held, jsonb_to_recordset($10) AS made (kind text, reference text, server_id uuid)
    ON CONFLICT (tenant_id, kind, reference) WHERE released_at IS NULL DO NOTHING
), released AS (
    UPDATE resources SET released_at = $8 FROM held
    WHERE resources.tenant_id = held.tenant_id AND resources.kind = ANY ($11) AND resources.released_at IS NULL
), noted AS (
    INSERT INTO provisioning_events (run_id, event, step, attempt, actor, detail)
    SELECT held.id, line.event, line.step, line.attempt, held.worker, line.detail
    FROM held, ROWS FROM (jsonb_to_recordset($12) AS (event text, step text, attempt integer, detail text))
        WITH ORDINALITY AS line (event, step, attempt, detail, number)
    ORDER BY line.number
), moved AS (
    UPDATE tenants SET status = $15, updated_at = $8 FROM held WHERE tenants.id = held.tenant_id AND tenants.status = $14
)
SELECT cancelled FROM held
";

/// Records progress completely or not at all, and renews the lease unless the run is rescheduled or
/// has ended. Returns whether the cancellation of the run was requested.
pub async fn advance(
    db: &impl OnRegistry,
    claim: &Claim,
    progress: Progress,
    now: DateTime<Utc>,
) -> Result<Result<bool, LeaseLost>, RegistryError> {
    let (code, detail) = progress.error.map(|(code, text)| (code.to_owned(), text)).unzip();
    let status = progress.status.map(|status| sea_orm::ActiveEnum::to_value(&status));
    let json = |value: serde_json::Result<serde_json::Value>| {
        value.map_err(|e| RegistryError::Statement(sea_orm::DbErr::Json(e.to_string())))
    };
    let released: Vec<String> = progress.released.iter().map(|kind| (*kind).to_owned()).collect();
    let (from, to) = progress.tenant_status.unzip();
    let status_name = |status: Option<Status>| status.map(|s| sea_orm::ActiveEnum::to_value(&s));
    let values: [sea_orm::Value; 15] = [
        claim.run.into(),
        claim.fence.into(),
        seconds(claim.lease),
        status.into(),
        code.into(),
        detail.into(),
        progress.reschedule.map(|delay| delay.as_secs_f64()).into(),
        now.into(),
        json(serde_json::to_value(&progress.steps))?.into(),
        json(serde_json::to_value(&progress.made))?.into(),
        released.into(),
        json(serde_json::to_value(&progress.happened))?.into(),
        claim.worker.as_str().into(),
        status_name(from).into(),
        status_name(to).into(),
    ];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, ADVANCE, values);
    match db.query_one_raw(statement).await? {
        Some(row) => Ok(Ok(row.try_get("", "cancelled")?)),
        None => Ok(Err(LeaseLost)),
    }
}
