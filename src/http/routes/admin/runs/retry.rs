use axum::Json;
use axum::extract::State;

use super::RunDocument;
use crate::http::extract::operator_permission::RunsManage;
use crate::http::extract::{Id, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::{Code, Gateway};
use crate::identifiers::RunId;

/// Makes the next attempt of a run due now.
///
/// A run that has ended has no next attempt: `conflict`.
#[utoipa::path(
    post,
    path = "/v1/admin/runs/{id}/retry",
    tag = "Operators: runs",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The run.", body = RunDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn retry_run(
    State(gateway): State<Gateway>,
    operator: Operator<RunsManage>,
    Id(id): Id,
) -> Result<Json<RunDocument>, Problem> {
    let made_due = gateway.provisioner.retry_run(RunId(id), &operator.origin).await?;
    let (run, _) = super::find(&gateway, id).await?;
    if !made_due {
        return Err(Problem::with_detail(
            Code::Conflict,
            "The run has ended: there is nothing to try again. `provision` mends a tenant.",
        ));
    }
    Ok(Json(run.into()))
}
