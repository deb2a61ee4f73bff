use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::mfa::check_password;
use crate::http::Gateway;
use crate::http::extract::{Account, CalledBy, Checked, FieldErrors, JsonBody, Limited, Open};
use crate::http::problem::Problem;
use crate::http::responses::{OpenProblems, TenantProblems};
use crate::identifiers::EmailAddress;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VerifyRequest {
    /// From the letter.
    #[schema(required = true)]
    token: String,
}

impl Checked for VerifyRequest {
    type Output = String;

    fn check(self, errors: &mut FieldErrors) -> Option<String> {
        errors.text("token", &self.token, 1..=200)
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
    CalledBy(client): CalledBy,
    JsonBody(token): JsonBody<VerifyRequest>,
) -> Result<StatusCode, Problem> {
    gateway.accounts.email_verification.verify(&token, &client).await?;
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
    access: Account,
) -> Result<StatusCode, Problem> {
    let db = access.connect().await?;
    let by = access.principal();
    gateway.accounts.email_verification.resend(&by, &db).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChangeEmailRequest {
    /// With which the caller wants to sign in from now on.
    #[schema(required = true)]
    email: String,
    /// The caller's, once more.
    #[schema(required = true)]
    password: String,
}

impl Checked for ChangeEmailRequest {
    type Output = (SecretString, EmailAddress);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let email = errors.required("email", &self.email);
        let password = check_password(errors, "password", self.password);
        Some((password?, email?))
    }
}

/// Sends a letter to another address, with which the caller wants to sign in. Until its token is confirmed nothing changes.
#[utoipa::path(
    post,
    path = "/v1/auth/email/change",
    tag = "Registration and sessions",
    request_body = ChangeEmailRequest,
    responses((status = 202, description = "On its way."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn change_email(
    State(gateway): State<Gateway>,
    access: Account,
    CalledBy(client): CalledBy,
    JsonBody(change): JsonBody<ChangeEmailRequest>,
) -> Result<StatusCode, Problem> {
    let by = access.principal();
    gateway.accounts.email_changes.request(&access.tenant, &by, change, &client).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Confirms another address by the token from the letter, which is good once: it is the one to sign in with from now on.
#[utoipa::path(
    post,
    path = "/v1/auth/email/change/confirm",
    tag = "Registration and sessions",
    request_body = VerifyRequest,
    responses((status = 204, description = "The address has changed."), OpenProblems),
)]
pub(crate) async fn confirm_email(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    CalledBy(client): CalledBy,
    JsonBody(token): JsonBody<VerifyRequest>,
) -> Result<StatusCode, Problem> {
    gateway.accounts.email_changes.confirm(&token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
