use axum::extract::State;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{SessionDocument, with_tokens};
use crate::http::Gateway;
use crate::http::extract::{
    CalledBy, CalledHost, Checked, Cookies, FieldErrors, JsonBody, Limited, Open, RefreshCookie,
};
use crate::http::problem::{FieldError, Problem};
use crate::http::responses::OpenProblems;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    /// Where absent, the refresh token of the cookie is used.
    refresh_token: Option<String>,
}

impl Checked for RefreshRequest {
    type Output = Option<String>;
    const MAY_BE_ABSENT: bool = true;

    fn check(self, errors: &mut FieldErrors) -> Option<Option<String>> {
        match self.refresh_token {
            None => Some(None),
            Some(token) => errors.text("refresh_token", &token, 1..=200).map(Some),
        }
    }
}

/// Exchanges a refresh token for a new pair of tokens. A refresh token works once.
///
/// A refresh token that was used before ends its whole session. At the host of another organization
/// it gets `tenant_mismatch`, and stays valid.
#[utoipa::path(
    post,
    path = "/v1/auth/refresh",
    tag = "Registration and sessions",
    request_body = Option<RefreshRequest>,
    responses((status = 200, description = "The new pair.", body = SessionDocument), OpenProblems),
)]
pub(crate) async fn refresh(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    CalledHost(host): CalledHost,
    CalledBy(client): CalledBy,
    cookies: Cookies,
    RefreshCookie(cookie): RefreshCookie,
    JsonBody(token): JsonBody<RefreshRequest>,
) -> Result<impl IntoResponse, Problem> {
    let token = match token {
        Some(token) => token,
        None => cookie?
            .ok_or_else(|| Problem::validation(vec![FieldError::required("refresh_token")]))?,
    };
    let signed_in = gateway.accounts.sessions.refresh(&token, host.as_ref(), &client).await?;
    Ok(with_tokens(cookies, signed_in, |session| session))
}
