use axum::extract::State;
use axum::http::StatusCode;

use crate::http::Gateway;
use crate::http::extract::LeavingOperator;
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;

/// Ends the session: its token works nowhere any more. A session that is over gets the same answer.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/logout",
    tag = "Operators: own account",
    responses((status = 204, description = "Signed out."), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn operator_logout(
    State(gateway): State<Gateway>,
    LeavingOperator(operator): LeavingOperator,
) -> Result<StatusCode, Problem> {
    if let Some(operator) = operator {
        gateway.operators.account.sign_out(&operator.caller, &operator.origin).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
