use axum::extract::State;
use axum::http::StatusCode;

use crate::http::Gateway;
use crate::http::extract::operator_permission::OwnAccount;
use crate::http::extract::{JsonBody, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::routes::auth::password::{ChangeRequest, of_new_password};

/// Sets a new password for an operator who sends the old one. The operator's other sessions end.
///
/// A wrong `current_password` gets `invalid_credentials`, and counts like a failed login.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/password/change",
    tag = "Operators: own account",
    request_body = ChangeRequest,
    responses((status = 204, description = "The new password is set."), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn change_operator_password(
    State(gateway): State<Gateway>,
    operator: Operator<OwnAccount>,
    JsonBody(passwords): JsonBody<ChangeRequest>,
) -> Result<StatusCode, Problem> {
    let Operator { caller, client, origin, .. } = &operator;
    let changed = gateway.operators.account.change_password(caller, passwords, client, origin);
    changed.await.map_err(of_new_password)?;
    Ok(StatusCode::NO_CONTENT)
}
