use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::SessionDocument;
use crate::http::Gateway;
use crate::http::extract::{CalledHost, Checked, Faults, JsonBody};
use crate::http::openapi::OpenProblems;
use crate::http::problem::Problem;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    #[schema(required = true)]
    refresh_token: String,
}

impl Checked for RefreshRequest {
    type Output = String;

    fn check(self, faults: &mut Faults) -> Option<String> {
        faults.text("refresh_token", &self.refresh_token, 1..=200)
    }
}

/// A new pair of tokens for a refresh token, which is good once.
///
/// A refresh token that was used before ends its whole session. At the host of another organization it gets
/// `tenant_mismatch`, and stays good.
#[utoipa::path(
    post,
    path = "/v1/auth/refresh",
    tag = "Registration and sessions",
    request_body = RefreshRequest,
    responses((status = 200, description = "The new pair.", body = SessionDocument), OpenProblems),
)]
pub(crate) async fn refresh(
    State(gateway): State<Gateway>,
    CalledHost(host): CalledHost,
    JsonBody(token): JsonBody<RefreshRequest>,
) -> Result<Json<SessionDocument>, Problem> {
    let signed_in = gateway.authentication.refresh(&token, host.as_ref()).await?;
    Ok(Json(signed_in.into()))
}
