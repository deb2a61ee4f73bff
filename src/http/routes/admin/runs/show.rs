use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{RunDocument, RunEventDocument, RunStepDocument};
use crate::http::Gateway;
use crate::http::extract::operator_permission::RunsRead;
use crate::http::extract::{Id, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::identifiers::RunId;
use crate::registry::runs::provisioning_runs;

/// A run with its steps and its history.
#[derive(Serialize, ToSchema)]
pub(crate) struct WholeRunDocument {
    #[serde(flatten)]
    run: RunDocument,
    /// In the order of their execution.
    steps: Vec<RunStepDocument>,
    /// Events of the run, oldest first.
    history: Vec<RunEventDocument>,
}

/// One run, with its steps and its history.
#[utoipa::path(
    get,
    path = "/v1/admin/runs/{id}",
    tag = "Operators: runs",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The run.", body = WholeRunDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn show_run(
    State(gateway): State<Gateway>,
    _: Operator<RunsRead>,
    Id(id): Id,
) -> Result<Json<WholeRunDocument>, Problem> {
    let (run, steps) = super::find(&gateway, id).await?;
    let db = gateway.registry.connect().await?;
    let history = provisioning_runs::history(&db, RunId(id)).await?;
    Ok(Json(WholeRunDocument {
        run: run.into(),
        steps: steps.into_iter().map(RunStepDocument::from).collect(),
        history: history.into_iter().map(RunEventDocument::from).collect(),
    }))
}
