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
    /// The caller's password.
    #[schema(required = true)]
    password: String,
    /// Six digits of the authenticator app, where the caller has a second factor.
    totp_code: Option<String>,
    /// A recovery code instead of `totp_code`.
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

/// Proves the caller's identity once more: for five minutes the calls that otherwise get
/// `step_up_required` are allowed in this session.
///
/// These calls change who is an owner, give `staff:manage` or `tenant:manage`, take off the
/// second factor of another person, or change the caller's address where there is a second factor.
/// A step-up counts like a login. It ends with the session, with a new password and with a new
/// second factor. A caller who signs in at an identity provider proves the identity there.
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
