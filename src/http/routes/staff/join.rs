use axum::extract::State;
use axum::response::IntoResponse;

use crate::http::Gateway;
use crate::http::extract::{CalledBy, Cookies, JsonBody, Limited, Open};
use crate::http::problem::Problem;
use crate::http::responses::OpenProblems;
use crate::http::routes::auth::password::ResetRequest;
use crate::http::routes::auth::{SessionDocument, with_tokens};

/// Joins the staff by the token from an invitation, which works once, and signs in.
#[utoipa::path(
    post,
    path = "/v1/auth/invitations/accept",
    tag = "Registration and sessions",
    request_body = ResetRequest,
    responses((status = 200, description = "Joined and signed in.", body = SessionDocument), OpenProblems),
)]
pub(crate) async fn accept_invitation(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    CalledBy(client): CalledBy,
    cookies: Cookies,
    JsonBody((token, password)): JsonBody<ResetRequest>,
) -> Result<impl IntoResponse, Problem> {
    let joined = gateway.accounts.invitations.join(&token, password, &client).await?;
    Ok(with_tokens(cookies, joined, |session| session))
}
