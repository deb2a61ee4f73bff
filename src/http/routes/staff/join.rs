use axum::extract::State;
use axum::response::IntoResponse;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::Gateway;
use crate::http::extract::{CalledBy, Checked, Cookies, Faults, JsonBody, Limited, Open};
use crate::http::openapi::OpenProblems;
use crate::http::problem::Problem;
use crate::http::routes::auth::password::check_new_password;
use crate::http::routes::auth::{SessionDocument, with_tokens};

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JoinRequest {
    /// From the letter.
    #[schema(required = true)]
    token: String,
    /// 10 to 128 characters.
    #[schema(required = true)]
    password: String,
}

impl Checked for JoinRequest {
    type Output = (String, SecretString);

    fn check(self, faults: &mut Faults) -> Option<Self::Output> {
        let token = faults.text("token", &self.token, 1..=200);
        let password = check_new_password(faults, "password", self.password, &[]);
        Some((token?, password?))
    }
}

/// Joins the staff by the token from an invitation, which is good once, and signs in.
#[utoipa::path(
    post,
    path = "/v1/auth/invitations/accept",
    tag = "Registration and sessions",
    request_body = JoinRequest,
    responses((status = 200, description = "Joined and signed in.", body = SessionDocument), OpenProblems),
)]
pub(crate) async fn accept_invitation(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    CalledBy(client): CalledBy,
    cookies: Cookies,
    JsonBody((token, password)): JsonBody<JoinRequest>,
) -> Result<impl IntoResponse, Problem> {
    let joined = gateway.authentication.join(&token, password, &client).await?;
    Ok(with_tokens(cookies, joined, |session| session))
}
