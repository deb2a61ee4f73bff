use axum::extract::State;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::ToSchema;

use super::mfa::{check_factor, check_password};
use super::{SessionDocument, with_tokens};
use crate::accounts::LoginCredentials;
use crate::http::Gateway;
use crate::http::extract::{
    CalledBy, CalledHost, Checked, Cookies, FieldErrors, JsonBody, Limited, Open,
};
use crate::http::problem::Problem;
use crate::http::responses::OpenProblems;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LoginRequest {
    #[schema(required = true)]
    email: String,
    #[schema(required = true)]
    password: String,
    /// Six digits of the authenticator app, where a second factor is required.
    totp_code: Option<String>,
    /// A recovery code instead of `totp_code`.
    recovery_code: Option<String>,
    /// Slug, for a person on the staff of several organizations. At an organization's own host, the
    /// host decides.
    tenant: Option<String>,
}

impl Checked for LoginRequest {
    type Output = LoginCredentials;

    fn check(self, errors: &mut FieldErrors) -> Option<LoginCredentials> {
        if self.email.trim().is_empty() {
            errors.add("email", "required", "is required");
        }
        let password = check_password(errors, "password", self.password);
        let factor = check_factor(errors, self.totp_code, self.recovery_code);
        // A text that is no address belongs to no account. It gets the answer of a wrong password.
        Some(LoginCredentials {
            email: self.email.parse().ok(),
            password: password?,
            factor,
            tenant: self.tenant,
        })
    }
}

/// Signs a member of staff in.
///
/// An unknown address and a wrong password get the same answer after the same time. At the host of
/// an organization it is a login to that organization; another `tenant` gets `tenant_mismatch`.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    tag = "Registration and sessions",
    request_body = LoginRequest,
    responses((status = 200, description = "Signed in.", body = SessionDocument), OpenProblems),
)]
pub(crate) async fn login(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    CalledHost(host): CalledHost,
    CalledBy(client): CalledBy,
    cookies: Cookies,
    JsonBody(credentials): JsonBody<LoginRequest>,
) -> Result<impl IntoResponse, Problem> {
    let signed_in = gateway.accounts.sign_in.login(credentials, host.as_ref(), &client).await?;
    Ok(with_tokens(cookies, signed_in, |session| session))
}
