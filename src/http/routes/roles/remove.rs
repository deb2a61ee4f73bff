use axum::http::StatusCode;
use serde_json::json;

use crate::audit::AuditEvent;
use crate::http::extract::permission::StaffManage;
use crate::http::extract::{Authorized, Id};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::roles::{self, RoleError};

/// Removes a role that no member of staff has.
#[utoipa::path(
    delete,
    path = "/v1/roles/{id}",
    tag = "Staff",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Removed."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn remove_role(
    access: Authorized<StaffManage>,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let removed = access.change(async |db, rights| {
        let role = roles::remove(db, id, rights).await?;
        let event = AuditEvent::on("role.removed", "role", id).with(json!({"name": role.name}));
        Ok::<_, RoleError>(((), event))
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}
