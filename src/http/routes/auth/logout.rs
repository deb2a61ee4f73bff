use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::Gateway;
use crate::http::extract::{Account, Checked, Cookies, Faults, JsonBody};
use crate::http::openapi::TenantProblems;
use crate::http::problem::Problem;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogoutRequest {
    /// End every session of the same person; only this one where absent.
    everywhere: bool,
}

impl Checked for LogoutRequest {
    type Output = bool;
    const MAY_BE_ABSENT: bool = true;

    fn check(self, _: &mut Faults) -> Option<bool> {
        Some(self.everywhere)
    }
}

/// Ends the session: its access token stops working on every replica within a second.
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
    access: Account,
    cookies: Cookies,
    JsonBody(everywhere): JsonBody<LogoutRequest>,
) -> Result<impl IntoResponse, Problem> {
    let origin = access.origin().await?;
    let db = access.connect().await?;
    gateway.authentication.logout(db, &access.claims, everywhere, &origin).await?;
    let cleared = cookies.clear().map(|cookie| (SET_COOKIE, cookie));
    Ok((StatusCode::NO_CONTENT, AppendHeaders(cleared)))
}
