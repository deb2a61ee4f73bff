use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NO_STORE, OperatorDocument};
use crate::http::Gateway;
use crate::http::extract::{CalledBy, Checked, FieldErrors, JsonBody, Limited, Open};
use crate::http::problem::Problem;
use crate::http::responses::AdminLoginProblems;
use crate::http::routes::auth::mfa::{check_factor, check_password};
use crate::operators::OperatorCredentials;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OperatorLoginRequest {
    #[schema(required = true)]
    email: String,
    #[schema(required = true)]
    password: String,
    /// Six digits of the authenticator app.
    totp_code: Option<String>,
    /// A recovery code instead of `totp_code`.
    recovery_code: Option<String>,
}

impl Checked for OperatorLoginRequest {
    type Output = OperatorCredentials;

    fn check(self, errors: &mut FieldErrors) -> Option<OperatorCredentials> {
        if self.email.trim().is_empty() {
            errors.add("email", "required", "is required");
        }
        let password = check_password(errors, "password", self.password);
        let second_factor = check_factor(errors, self.totp_code, self.recovery_code);
        Some(OperatorCredentials {
            email: self.email.parse().ok(),
            password: password?,
            second_factor,
        })
    }
}

/// An operator who is signed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorSessionDocument {
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until the session is over. There is no refresh token.
    expires_in: i64,
    operator: OperatorDocument,
}

/// Signs an operator in.
///
/// An unknown address, a wrong password, a wrong code and a disabled operator get the same answer
/// after the same time. A correct password without the required code gets `mfa_required`.
#[utoipa::path(
    post,
    path = "/v1/admin/auth/login",
    tag = "Operators: own account",
    request_body = OperatorLoginRequest,
    responses((status = 200, description = "Signed in.", body = OperatorSessionDocument), AdminLoginProblems),
)]
pub(crate) async fn operator_login(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    CalledBy(client): CalledBy,
    JsonBody(credentials): JsonBody<OperatorLoginRequest>,
) -> Result<impl IntoResponse, Problem> {
    let session = gateway.operators.sign_in.login(credentials, &client).await?;
    let document = OperatorSessionDocument {
        operator: OperatorDocument::of(&gateway, &session.operator)?,
        access_token: session.access_token,
        token_type: "Bearer",
        expires_in: session.expires_in,
    };
    Ok((NO_STORE, Json(document)))
}
