use axum::Json;
use axum::extract::State;

use super::RunDocument;
use crate::http::extract::operator_permission::RunsManage;
use crate::http::extract::{Id, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::{Code, Gateway};
use crate::identifiers::RunId;
use crate::provisioning::CancelError;
use crate::registry::runs::provisioning_runs::NotCancelled;

/// Cancels a run: it is undone before its next step, unless its last step has begun.
#[utoipa::path(
    post,
    path = "/v1/admin/runs/{id}/cancel",
    tag = "Operators: runs",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The run.", body = RunDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn cancel_run(
    State(gateway): State<Gateway>,
    operator: Operator<RunsManage>,
    Id(id): Id,
) -> Result<Json<RunDocument>, Problem> {
    match gateway.provisioner.cancel_run(RunId(id), &operator.origin).await {
        Ok(()) => Ok(Json(super::find(&gateway, id).await?.0.into())),
        Err(CancelError::NotCancelled(NotCancelled::Unknown)) => Err(Code::NotFound.into()),
        Err(CancelError::NotCancelled(reason)) => {
            let detail = format!("The run is not cancelled: {reason}.");
            Err(Problem::with_detail(Code::Conflict, detail))
        }
        Err(CancelError::Registry(error)) => Err(error.into()),
    }
}
