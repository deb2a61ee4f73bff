use axum::extract::State;
use axum::http::StatusCode;

use crate::http::Gateway;
use crate::http::extract::operator_permission::OwnAccount;
use crate::http::extract::{JsonBody, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::routes::auth::step_up::StepUpRequest;

/// Proves once more who the operator is: for five minutes this session may do what answers `step_up_required` otherwise.
///
/// That is: to make operators, and to change their roles and status. It counts like a sign-in, and ends with the session, with
/// another password and with another second factor.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/step-up",
    tag = "Operators: own account",
    request_body = StepUpRequest,
    responses((status = 204, description = "Proven."), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn operator_step_up(
    State(gateway): State<Gateway>,
    operator: Operator<OwnAccount>,
    JsonBody(shown): JsonBody<StepUpRequest>,
) -> Result<StatusCode, Problem> {
    let Operator { caller, client, origin, .. } = &operator;
    gateway.operators.account.step_up(caller, shown, client, origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
