use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::Gateway;
use crate::http::extract::permission::AnyStaff;
use crate::http::extract::{Authorized, Checked, Faults, JsonBody, Limited, Open};
use crate::http::openapi::{OpenProblems, TenantProblems};
use crate::http::problem::Problem;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VerifyRequest {
    /// From the letter.
    #[schema(required = true)]
    token: String,
}

impl Checked for VerifyRequest {
    type Output = String;

    fn check(self, faults: &mut Faults) -> Option<String> {
        faults.text("token", &self.token, 1..=200)
    }
}

/// Proves that an address is somebody's, by the token from a letter, which is good once.
#[utoipa::path(
    post,
    path = "/v1/auth/email/verify",
    tag = "Registration and sessions",
    request_body = VerifyRequest,
    responses((status = 204, description = "The address is proven."), OpenProblems),
)]
pub(crate) async fn verify_email(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    JsonBody(token): JsonBody<VerifyRequest>,
) -> Result<StatusCode, Problem> {
    gateway.authentication.verify_email(&token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends the letter to the caller's address once more; the token of the one before is good no more.
///
/// Where the address is proven already nothing is sent.
#[utoipa::path(
    post,
    path = "/v1/auth/email/verify/resend",
    tag = "Registration and sessions",
    responses((status = 204, description = "On its way."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn resend_verification(
    State(gateway): State<Gateway>,
    access: Authorized<AnyStaff>,
) -> Result<StatusCode, Problem> {
    let db = access.connect().await?;
    let Authorized { claims, tenant, .. } = &access;
    gateway.authentication.resend_verification(tenant, claims, &db).await?;
    Ok(StatusCode::NO_CONTENT)
}
