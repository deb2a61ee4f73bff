//! `/v1/registrations`: the progress of a registration.

pub(crate) mod show;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::registry::runs::provisioning_runs::{Run, RunStatus, Step, StepStatus};

#[derive(Serialize, ToSchema)]
pub(crate) struct RegistrationDocument {
    id: Uuid,
    /// `pending`, `running`, `completed` or `failed`.
    status: &'static str,
    steps: Vec<StepDocument>,
    /// `null` until the registration is completed.
    tenant_id: Option<Uuid>,
    /// `null` unless the registration has failed.
    error: Option<ErrorDocument>,
}

#[derive(Serialize, ToSchema)]
struct StepDocument {
    name: String,
    /// `pending`, `running`, `completed`, `failed` or `compensated`.
    status: &'static str,
    attempts: i32,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
struct ErrorDocument {
    code: String,
    detail: String,
}

impl From<(Run, Vec<Step>)> for RegistrationDocument {
    fn from((run, steps): (Run, Vec<Step>)) -> Self {
        let status = match run.status {
            RunStatus::Pending => "pending",
            // Clients see a run that is being undone as running.
            RunStatus::Running | RunStatus::Compensating => "running",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
        };
        let steps = steps.into_iter().map(|step| StepDocument {
            name: step.name,
            status: match step.status {
                StepStatus::Pending => "pending",
                StepStatus::Running => "running",
                StepStatus::Completed => "completed",
                StepStatus::Failed => "failed",
                StepStatus::Compensated => "compensated",
            },
            attempts: step.attempts,
            started_at: step.started_at,
            finished_at: step.finished_at,
        });
        Self {
            id: run.id.0,
            status,
            steps: steps.collect(),
            tenant_id: (run.status == RunStatus::Completed).then_some(run.tenant_id.0),
            error: run
                .error_code
                .zip(run.error_detail)
                .map(|(code, detail)| ErrorDocument { code, detail }),
        }
    }
}
