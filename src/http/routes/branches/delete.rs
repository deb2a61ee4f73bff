use axum::http::StatusCode;

use crate::audit::AuditEvent;
use crate::http::extract::permission::MembersWrite;
use crate::http::extract::{Authorized, Id};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::branches::{self, BranchError};

/// Removes a branch that has no members.
#[utoipa::path(
    delete,
    path = "/v1/branches/{id}",
    tag = "Branches",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Removed."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn delete_branch(
    access: Authorized<MembersWrite>,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let removed = access.change(async |db, _| {
        branches::delete(db, id).await?;
        Ok::<_, BranchError>(((), AuditEvent::on("branch.removed", "branch", id)))
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}
