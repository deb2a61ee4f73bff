use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::mfa::{check_factor, check_password};
use crate::accounts::SecondFactor;
use crate::http::Gateway;
use crate::http::extract::{Account, CalledBy, Checked, FieldErrors, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StepUpRequest {
    /// The caller's, once more.
    #[schema(required = true)]
    password: String,
    /// Where the caller has a second factor.
    totp_code: Option<String>,
    /// In the place of `totp_code`.
    recovery_code: Option<String>,
}

impl Checked for StepUpRequest {
    type Output = (SecretString, Option<SecondFactor>);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let password = check_password(errors, "password", self.password);
        let factor = check_factor(errors, self.totp_code, self.recovery_code);
        Some((password?, factor))
    }
}

/// Proves once more who the caller is: for five minutes this session may do what answers `step_up_required` otherwise.
///
/// That is: to make or unmake owners, to give `staff:manage` or `tenant:manage`, to take somebody's second factor off, and to change one's
/// address where there is a second factor. It counts like a sign-in, and ends with the session, with another password and with
/// another second factor. Whom an identity provider signs in proves it there.
#[utoipa::path(
    post,
    path = "/v1/auth/step-up",
    tag = "Registration and sessions",
    request_body = StepUpRequest,
    responses((status = 204, description = "Proven."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn step_up(
    State(gateway): State<Gateway>,
    access: Account,
    CalledBy(client): CalledBy,
    JsonBody(shown): JsonBody<StepUpRequest>,
) -> Result<StatusCode, Problem> {
    let by = access.principal();
    gateway.accounts.step_up.prove(&access.tenant, &by, shown, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
