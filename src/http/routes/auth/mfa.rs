use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, StatusCode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::{Enrollment, SecondFactor};
use crate::http::Gateway;
use crate::http::extract::{Account, CalledBy, Checked, FieldErrors, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;

/// No cache may keep an answer with secrets.
const NOT_KEPT: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

/// Checks the second factor of a request: at most one of the two fields is present.
pub(crate) fn check_factor(
    errors: &mut FieldErrors,
    totp_code: Option<String>,
    recovery_code: Option<String>,
) -> Option<SecondFactor> {
    let mut read =
        |field: &str, text: String| errors.text(field, &text, 1..=100).map(SecretString::from);
    match (totp_code, recovery_code) {
        (None, None) => None,
        (Some(code), None) => read("totp_code", code).map(SecondFactor::Totp),
        (None, Some(code)) => read("recovery_code", code).map(SecondFactor::RecoveryCode),
        (Some(_), Some(_)) => {
            errors.add("recovery_code", "invalid", "must not be given beside `totp_code`");
            None
        }
    }
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EnrollRequest {
    /// The caller's password, as a proof of identity.
    #[schema(required = true)]
    password: String,
}

impl Checked for EnrollRequest {
    type Output = SecretString;

    fn check(self, errors: &mut FieldErrors) -> Option<SecretString> {
        check_password(errors, "password", self.password)
    }
}

/// Checks a password that is compared, not set.
pub(crate) fn check_password(
    errors: &mut FieldErrors,
    field: &str,
    password: String,
) -> Option<SecretString> {
    match password.chars().count() {
        0 => errors.add(field, "required", "is required"),
        // A longer password cannot have been set. Hashing it would only cost time.
        1025.. => errors.add(field, "too_long", "must have at most 1024 characters"),
        _ => return Some(SecretString::from(password)),
    }
    None
}

#[derive(Serialize, ToSchema)]
pub(crate) struct EnrollmentDocument {
    /// URL to show as a QR code.
    otpauth_url: String,
    /// Secret to type in: base32.
    secret: String,
}

impl From<Enrollment> for EnrollmentDocument {
    fn from(enrollment: Enrollment) -> Self {
        Self { otpauth_url: enrollment.otpauth_url, secret: enrollment.secret }
    }
}

/// Begins to set up a second factor: an authenticator app reads the secret, and `confirm` takes the
/// app's first code.
///
/// Until then nothing changes. A new call replaces a secret that was not confirmed.
#[utoipa::path(
    post,
    path = "/v1/auth/mfa/enroll",
    tag = "Registration and sessions",
    request_body = EnrollRequest,
    responses((status = 200, description = "For the app.", body = EnrollmentDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn enroll_mfa(
    State(gateway): State<Gateway>,
    access: Account,
    CalledBy(client): CalledBy,
    JsonBody(password): JsonBody<EnrollRequest>,
) -> Result<([(HeaderName, &'static str); 1], Json<EnrollmentDocument>), Problem> {
    let by = access.principal();
    let enrolled = gateway.accounts.mfa.enroll(&access.tenant, &by, password, &client).await?;
    Ok((NOT_KEPT, Json(enrolled.into())))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConfirmRequest {
    /// Six digits of the authenticator app.
    #[schema(required = true)]
    totp_code: String,
}

impl Checked for ConfirmRequest {
    type Output = SecretString;

    fn check(self, errors: &mut FieldErrors) -> Option<SecretString> {
        errors.text("totp_code", &self.totp_code, 1..=100).map(SecretString::from)
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryCodesDocument {
    /// Each works once instead of a code of the app. They are shown only this once.
    recovery_codes: Vec<String>,
}

impl From<Vec<String>> for RecoveryCodesDocument {
    fn from(recovery_codes: Vec<String>) -> Self {
        Self { recovery_codes }
    }
}

/// Switches the second factor on, with a first code of the app. The caller's other sessions end.
#[utoipa::path(
    post,
    path = "/v1/auth/mfa/confirm",
    tag = "Registration and sessions",
    request_body = ConfirmRequest,
    responses((status = 200, description = "From now on a code is asked for.", body = RecoveryCodesDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn confirm_mfa(
    State(gateway): State<Gateway>,
    access: Account,
    CalledBy(client): CalledBy,
    JsonBody(code): JsonBody<ConfirmRequest>,
) -> Result<([(HeaderName, &'static str); 1], Json<RecoveryCodesDocument>), Problem> {
    let by = access.principal();
    let confirmed = gateway.accounts.mfa.confirm(&access.tenant, &by, &code, &client);
    let recovery_codes = confirmed.await?;
    access.forget_rights().await;
    Ok((NOT_KEPT, Json(recovery_codes.into())))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DisableRequest {
    #[schema(required = true)]
    password: String,
    /// Six digits of the authenticator app. Required if there is no `recovery_code`.
    totp_code: Option<String>,
    /// A recovery code instead of `totp_code`.
    recovery_code: Option<String>,
}

impl Checked for DisableRequest {
    type Output = (SecretString, SecondFactor);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let password = check_password(errors, "password", self.password);
        if self.totp_code.is_none() && self.recovery_code.is_none() {
            errors.add("totp_code", "required", "is required, or `recovery_code`");
        }
        let factor = check_factor(errors, self.totp_code, self.recovery_code);
        Some((password?, factor?))
    }
}

/// Switches the second factor off. The caller has to send the password and a code.
#[utoipa::path(
    post,
    path = "/v1/auth/mfa/disable",
    tag = "Registration and sessions",
    request_body = DisableRequest,
    responses((status = 204, description = "No code is asked for any more."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn disable_mfa(
    State(gateway): State<Gateway>,
    access: Account,
    CalledBy(client): CalledBy,
    JsonBody(shown): JsonBody<DisableRequest>,
) -> Result<StatusCode, Problem> {
    let by = access.principal();
    gateway.accounts.mfa.disable(&access.tenant, &by, shown, &client).await?;
    access.forget_rights().await;
    Ok(StatusCode::NO_CONTENT)
}
