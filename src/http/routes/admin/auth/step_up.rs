use axum::extract::State;
use axum::http::StatusCode;

use crate::http::Gateway;
use crate::http::extract::operator_permission::OwnAccount;
use crate::http::extract::{JsonBody, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::routes::auth::step_up::StepUpRequest;

/// Proves the operator's identity once more: for five minutes the calls that otherwise get
/// `step_up_required` are allowed in this session.
///
/// These calls create operators, and change their roles and status. A step-up counts like a login.
/// It ends with the session, with a new password and with a new second factor.
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
