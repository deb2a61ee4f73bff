//! `/v1/admin/runs`: the runs of provisioning.

pub(crate) mod cancel;
pub(crate) mod list;
pub(crate) mod retry;
pub(crate) mod show;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::problem::Problem;
use crate::http::{Code, Gateway};
use crate::identifiers::RunId;
use crate::registry::runs::provisioning_runs::{Event, Run, RunKind, RunStatus, Step, StepStatus};

/// A run that creates, repairs or removes a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunDocument {
    id: Uuid,
    #[schema(value_type = String, example = "create_tenant")]
    kind: RunKind,
    #[schema(value_type = String, example = "running")]
    status: RunStatus,
    tenant_id: Uuid,
    version: i32,
    /// The process that works on the run; its lease ends at `lease_until`.
    lease_owner: Option<String>,
    lease_until: Option<DateTime<Utc>>,
    next_attempt_at: DateTime<Utc>,
    cancel_requested_at: Option<DateTime<Utc>>,
    error_code: Option<String>,
    error_detail: Option<String>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl From<Run> for RunDocument {
    fn from(run: Run) -> Self {
        Self {
            id: run.id.0,
            kind: run.kind,
            status: run.status,
            tenant_id: run.tenant_id.0,
            version: run.version,
            lease_owner: run.lease_owner,
            lease_until: run.lease_until,
            next_attempt_at: run.next_attempt_at,
            cancel_requested_at: run.cancel_requested_at,
            error_code: run.error_code,
            error_detail: run.error_detail,
            created_at: run.created_at,
            finished_at: run.finished_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RunStepDocument {
    position: i32,
    name: String,
    #[schema(value_type = String, example = "completed")]
    status: StepStatus,
    attempts: i32,
    undo_attempts: i32,
    last_error: Option<String>,
    undo_error: Option<String>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl From<Step> for RunStepDocument {
    fn from(step: Step) -> Self {
        Self {
            position: step.position,
            name: step.name,
            status: step.status,
            attempts: step.attempts,
            undo_attempts: step.undo_attempts,
            last_error: step.last_error,
            undo_error: step.undo_error,
            started_at: step.started_at,
            finished_at: step.finished_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RunEventDocument {
    occurred_at: DateTime<Utc>,
    event: String,
    step: Option<String>,
    attempt: Option<i32>,
    actor: String,
    detail: Option<String>,
}

impl From<Event> for RunEventDocument {
    fn from(event: Event) -> Self {
        Self {
            occurred_at: event.occurred_at,
            event: event.event,
            step: event.step,
            attempt: event.attempt,
            actor: event.actor,
            detail: event.detail,
        }
    }
}

/// One run and its steps.
pub(crate) async fn find(gateway: &Gateway, id: Uuid) -> Result<(Run, Vec<Step>), Problem> {
    Ok(gateway.provisioner.progress(RunId(id)).await?.ok_or(Code::NotFound)?)
}

/// The URL of a run.
pub(crate) fn location(id: Uuid) -> String {
    format!("/v1/admin/runs/{id}")
}
