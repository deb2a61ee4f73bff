use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access::Client;
use crate::http::extract::{
    CalledBy, Checked, Cookies, FieldErrors, JsonBody, Leaving, Limited, Open,
};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::http::{Code, Gateway};

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogoutRequest {
    /// Ends every session of the same person. Where absent, only this session ends.
    everywhere: bool,
    /// Identifies the session where there is no access token. Where absent, the refresh token of
    /// the cookie does.
    refresh_token: Option<String>,
}

impl Checked for LogoutRequest {
    type Output = (bool, Option<String>);
    const MAY_BE_ABSENT: bool = true;

    fn check(self, errors: &mut FieldErrors) -> Option<(bool, Option<String>)> {
        let token = match self.refresh_token {
            None => None,
            Some(token) => Some(errors.text("refresh_token", &token, 1..=200)?),
        };
        Some((self.everywhere, token))
    }
}

/// Ends the session: its access token stops working on every replica within a second.
///
/// An expired or revoked access token is enough, and so is the refresh token alone: a session that
/// is over gets the same answer. The cookies are deleted, unless a page of another origin sends the
/// request. Such a page has to show a token (`csrf_rejected` otherwise).
#[utoipa::path(
    post,
    path = "/v1/auth/logout",
    tag = "Registration and sessions",
    request_body = Option<LogoutRequest>,
    responses((status = 204, description = "Signed out."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn logout(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    CalledBy(client): CalledBy,
    cookies: Cookies,
    leaving: Leaving,
    JsonBody((everywhere, token)): JsonBody<LogoutRequest>,
) -> Response {
    let cleared = (!leaving.is_foreign).then(|| cookies.clear()).into_iter().flatten();
    let cleared = AppendHeaders(cleared.map(|cookie| (SET_COOKIE, cookie)));
    match sign_out(&gateway, leaving, token, everywhere, &client).await {
        Ok(()) => (StatusCode::NO_CONTENT, cleared).into_response(),
        // The session belongs to another organization, so the cookies stay.
        Err(problem) if problem.code() == Code::TenantMismatch => problem.into_response(),
        Err(problem) => (cleared, problem).into_response(),
    }
}

async fn sign_out(
    gateway: &Gateway,
    leaving: Leaving,
    token: Option<String>,
    everywhere: bool,
    client: &Client,
) -> Result<(), Problem> {
    let Some((tenant, leaving)) = leaving.of(gateway, token).await? else { return Ok(()) };
    Ok(gateway.accounts.sessions.sign_out(&tenant, &leaving, everywhere, client).await?)
}
