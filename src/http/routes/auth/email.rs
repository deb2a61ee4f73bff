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
    /// The token from the email.
    #[schema(required = true)]
    token: String,
}

impl Checked for VerifyRequest {
    type Output = String;

    fn check(self, errors: &mut FieldErrors) -> Option<String> {
        errors.text("token", &self.token, 1..=200)
    }
}

/// Proves the ownership of an address by the token from an email. The token works once.
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

/// Sends the verification email once more. The token of the earlier email stops working.
///
/// Where the address is already proven, nothing is sent.
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
    /// The new address, with which the caller wants to sign in.
    #[schema(required = true)]
    email: String,
    /// The caller's password, as a proof of identity.
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

/// Sends an email to the new address with which the caller wants to sign in. Nothing changes until
/// its token is confirmed.
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

/// Confirms a new address by the token from the email, which works once. From now on the caller
/// signs in with that address.
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
