use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::NO_STORE;
use crate::http::Gateway;
use crate::http::extract::operator_permission::OwnAccount;
use crate::http::extract::{JsonBody, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::routes::auth::mfa::{
    ConfirmRequest, DisableRequest, EnrollRequest, EnrollmentDocument, RecoveryCodesDocument,
};

/// Creates a new secret for an authenticator app. The secret has no effect until a first code has
/// confirmed it.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/mfa/enroll",
    tag = "Operators: own account",
    request_body = EnrollRequest,
    responses((status = 200, description = "The secret.", body = EnrollmentDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn enroll_operator_mfa(
    State(gateway): State<Gateway>,
    operator: Operator<OwnAccount>,
    JsonBody(password): JsonBody<EnrollRequest>,
) -> Result<impl IntoResponse, Problem> {
    let Operator { caller, client, origin, .. } = &operator;
    let enrollment = gateway.operators.account.enroll(caller, password, client, origin).await?;
    Ok((NO_STORE, Json(EnrollmentDocument::from(enrollment))))
}

/// Switches the second factor on: from now on a login needs a code. Other sessions of the operator
/// end.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/mfa/confirm",
    tag = "Operators: own account",
    request_body = ConfirmRequest,
    responses((status = 200, description = "The recovery codes.", body = RecoveryCodesDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn confirm_operator_mfa(
    State(gateway): State<Gateway>,
    operator: Operator<OwnAccount>,
    JsonBody(code): JsonBody<ConfirmRequest>,
) -> Result<impl IntoResponse, Problem> {
    let Operator { caller, client, origin, .. } = &operator;
    let recovery_codes = gateway.operators.account.confirm(caller, &code, client, origin).await?;
    Ok((NO_STORE, Json(RecoveryCodesDocument::from(recovery_codes))))
}

/// Switches the second factor off: from now on the password is enough. Other sessions of the
/// operator end.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/mfa/disable",
    tag = "Operators: own account",
    request_body = DisableRequest,
    responses((status = 204, description = "Switched off."), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn disable_operator_mfa(
    State(gateway): State<Gateway>,
    operator: Operator<OwnAccount>,
    JsonBody((password, factor)): JsonBody<DisableRequest>,
) -> Result<StatusCode, Problem> {
    let Operator { caller, client, origin, .. } = &operator;
    gateway.operators.account.disable(caller, password, &factor, client, origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
