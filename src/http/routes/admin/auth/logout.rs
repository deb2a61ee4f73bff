use axum::extract::State;
use axum::http::StatusCode;

use crate::http::Gateway;
use crate::http::extract::Operator;
use crate::http::extract::operator_permission::OwnAccount;
use crate::http::openapi::AdminProblems;
use crate::http::problem::Problem;

/// Ends the session: its token works nowhere any more.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/logout",
    tag = "Operators: own account",
    responses((status = 204, description = "Signed out."), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn operator_logout(
    State(gateway): State<Gateway>,
    operator: Operator<OwnAccount>,
) -> Result<StatusCode, Problem> {
    gateway.authentication.sign_out_operator(&operator.caller, &operator.origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
