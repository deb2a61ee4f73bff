use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::accounts::{CredentialError, PasswordChange};
use crate::http::Gateway;
use crate::http::extract::{
    Account, CalledBy, CalledHost, Checked, FieldErrors, JsonBody, Limited, Open,
};
use crate::http::problem::Problem;
use crate::http::responses::{OpenProblems, TenantProblems};
use crate::identifiers::EmailAddress;

/// Checks the length of a new password. Whether it is a common password costs more, and is checked
/// when it is hashed.
pub(crate) fn check_new_password(
    errors: &mut FieldErrors,
    field: &str,
    password: String,
) -> Option<SecretString> {
    match password.chars().count() {
        0 => errors.add(field, "required", "is required"),
        1..=9 => errors.add(field, "too_short", "must have at least 10 characters"),
        10..=128 => return Some(SecretString::from(password)),
        _ => errors.add(field, "too_long", "must have at most 128 characters"),
    }
    None
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ForgotRequest {
    #[schema(required = true)]
    email: String,
    /// Slug: an email only for that organization. At an organization's own host, the host decides.
    tenant: Option<String>,
}

/// The account whose password is forgotten.
pub(crate) struct Forgotten {
    /// `None`: the text is no address, so it belongs to no account.
    email: Option<EmailAddress>,
    tenant: Option<String>,
}

impl Checked for ForgotRequest {
    type Output = Forgotten;

    fn check(self, errors: &mut FieldErrors) -> Option<Forgotten> {
        if self.email.trim().is_empty() {
            errors.add("email", "required", "is required");
        }
        Some(Forgotten { email: self.email.parse().ok(), tenant: self.tenant })
    }
}

/// Sends an email by which a new password can be set, if there is an account with this address.
///
/// The answer is the same if there is none.
#[utoipa::path(
    post,
    path = "/v1/auth/password/forgot",
    tag = "Registration and sessions",
    request_body = ForgotRequest,
    responses((status = 202, description = "If there is somebody, they get a letter."), OpenProblems),
)]
pub(crate) async fn forgot_password(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    CalledHost(host): CalledHost,
    JsonBody(forgotten): JsonBody<ForgotRequest>,
) -> Result<StatusCode, Problem> {
    if let Some(email) = forgotten.email {
        gateway.accounts.passwords.request_reset(email, forgotten.tenant, host.as_ref()).await?;
    }
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ResetRequest {
    /// The token from the email.
    #[schema(required = true)]
    token: String,
    /// 10 to 128 characters.
    #[schema(required = true)]
    password: String,
}

impl Checked for ResetRequest {
    type Output = (String, SecretString);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let token = errors.text("token", &self.token, 1..=200);
        let password = check_new_password(errors, "password", self.password);
        Some((token?, password?))
    }
}

/// Sets a new password by the token from an email, which works once. All sessions of the person
/// end.
#[utoipa::path(
    post,
    path = "/v1/auth/password/reset",
    tag = "Registration and sessions",
    request_body = ResetRequest,
    responses((status = 204, description = "The new password is set."), OpenProblems),
)]
pub(crate) async fn reset_password(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    CalledBy(client): CalledBy,
    JsonBody((token, password)): JsonBody<ResetRequest>,
) -> Result<StatusCode, Problem> {
    gateway.accounts.passwords.reset(&token, password, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChangeRequest {
    #[schema(required = true)]
    current_password: String,
    /// 10 to 128 characters.
    #[schema(required = true)]
    new_password: String,
}

impl Checked for ChangeRequest {
    type Output = PasswordChange;

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        if self.current_password.is_empty() {
            errors.add("current_password", "required", "is required");
        }
        let new = check_new_password(errors, "new_password", self.new_password);
        Some(PasswordChange { current: SecretString::from(self.current_password), new: new? })
    }
}

/// In a request that has the old password too, the field is called `new_password`.
pub(crate) fn of_new_password(error: CredentialError) -> Problem {
    Problem::from(error).of_field("new_password")
}

/// Sets a new password for a caller who sends the old one. The caller's other sessions end.
///
/// A wrong `current_password` gets `invalid_credentials`, and counts like a failed login.
#[utoipa::path(
    post,
    path = "/v1/auth/password/change",
    tag = "Registration and sessions",
    request_body = ChangeRequest,
    responses((status = 204, description = "The new password is set."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn change_password(
    State(gateway): State<Gateway>,
    access: Account,
    CalledBy(client): CalledBy,
    JsonBody(passwords): JsonBody<ChangeRequest>,
) -> Result<StatusCode, Problem> {
    let by = access.principal();
    let changed = gateway.accounts.passwords.change(&access.tenant, &by, passwords, &client);
    changed.await.map_err(of_new_password)?;
    Ok(StatusCode::NO_CONTENT)
}
