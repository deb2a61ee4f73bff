use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NO_STORE, second_factor};
use crate::authentication::SecondFactor;
use crate::http::Gateway;
use crate::http::extract::operator_permission::OwnAccount;
use crate::http::extract::{Checked, Faults, JsonBody, Operator};
use crate::http::openapi::AdminProblems;
use crate::http::problem::Problem;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OperatorEnrollRequest {
    #[schema(required = true)]
    password: String,
}

impl Checked for OperatorEnrollRequest {
    type Output = SecretString;

    fn check(self, faults: &mut Faults) -> Option<SecretString> {
        password(faults, self.password)
    }
}

fn password(faults: &mut Faults, password: String) -> Option<SecretString> {
    if password.is_empty() {
        faults.add("password", "required", "is required");
        return None;
    }
    Some(SecretString::from(password))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorEnrollmentDocument {
    /// For an authenticator app: to be shown as a QR code.
    otpauth_url: String,
    /// To be typed in. Base32.
    secret: String,
}

/// A new secret for an authenticator app. It asks for nothing until a first code has confirmed it.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/mfa/enroll",
    tag = "Operators: own account",
    request_body = OperatorEnrollRequest,
    responses((status = 200, description = "The secret.", body = OperatorEnrollmentDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn enroll_operator_mfa(
    State(gateway): State<Gateway>,
    operator: Operator<OwnAccount>,
    JsonBody(password): JsonBody<OperatorEnrollRequest>,
) -> Result<impl IntoResponse, Problem> {
    let Operator { caller, client, origin, .. } = &operator;
    let enrollment =
        gateway.authentication.enroll_operator(caller, password, client, origin).await?;
    let document = OperatorEnrollmentDocument {
        otpauth_url: enrollment.otpauth_url,
        secret: enrollment.secret,
    };
    Ok((NO_STORE, Json(document)))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OperatorConfirmRequest {
    /// Six digits.
    #[schema(required = true)]
    totp_code: String,
}

impl Checked for OperatorConfirmRequest {
    type Output = String;

    fn check(self, faults: &mut Faults) -> Option<String> {
        faults.text("totp_code", &self.totp_code, 1..=20)
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorRecoveryCodesDocument {
    /// Each good once in the place of a code of the app. They are not shown again.
    recovery_codes: Vec<String>,
}

/// From now on signing in asks for a code. Other sessions of the operator end.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/mfa/confirm",
    tag = "Operators: own account",
    request_body = OperatorConfirmRequest,
    responses((status = 200, description = "The recovery codes.", body = OperatorRecoveryCodesDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn confirm_operator_mfa(
    State(gateway): State<Gateway>,
    operator: Operator<OwnAccount>,
    JsonBody(code): JsonBody<OperatorConfirmRequest>,
) -> Result<impl IntoResponse, Problem> {
    let Operator { caller, client, origin, .. } = &operator;
    let recovery_codes =
        gateway.authentication.confirm_operator(caller, &code, client, origin).await?;
    Ok((NO_STORE, Json(OperatorRecoveryCodesDocument { recovery_codes })))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OperatorDisableRequest {
    #[schema(required = true)]
    password: String,
    /// This, or a recovery code.
    totp_code: Option<String>,
    recovery_code: Option<String>,
}

impl Checked for OperatorDisableRequest {
    type Output = (SecretString, SecondFactor);

    fn check(self, faults: &mut Faults) -> Option<Self::Output> {
        let password = password(faults, self.password);
        let factor = second_factor(self.totp_code, self.recovery_code);
        if factor.is_none() {
            faults.add("totp_code", "required", "is required, or `recovery_code`");
        }
        Some((password?, factor?))
    }
}

/// From now on the password is enough. Other sessions of the operator end.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/mfa/disable",
    tag = "Operators: own account",
    request_body = OperatorDisableRequest,
    responses((status = 204, description = "Switched off."), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn disable_operator_mfa(
    State(gateway): State<Gateway>,
    operator: Operator<OwnAccount>,
    JsonBody((password, factor)): JsonBody<OperatorDisableRequest>,
) -> Result<StatusCode, Problem> {
    let Operator { caller, client, origin, .. } = &operator;
    gateway.authentication.disable_operator_mfa(caller, password, &factor, client, origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
