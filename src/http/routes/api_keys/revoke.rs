use axum::extract::State;
use axum::http::StatusCode;

use crate::http::Code;
use crate::http::Gateway;
use crate::http::extract::permission::TenantManage;
use crate::http::extract::{Authorized, Id};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;

/// Revokes a key: within a second it works nowhere. It stays in the list.
#[utoipa::path(
    delete,
    path = "/v1/api-keys/{id}",
    tag = "API keys",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Good no more."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn revoke_api_key(
    State(gateway): State<Gateway>,
    access: Authorized<TenantManage>,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let tenant = access.caller.tenant();
    let revoked = access.change(async |db, _| {
        let event = gateway.accounts.api_keys.revoke(db, tenant, id).await?;
        Ok::<_, Problem>(((), event.ok_or(Code::NotFound)?))
    });
    revoked.await?;
    Ok(StatusCode::NO_CONTENT)
}
