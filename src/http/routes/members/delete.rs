use axum::http::StatusCode;

use crate::audit::Act;
use crate::http::extract::permission::MembersWrite;
use crate::http::extract::{Authorized, Id};
use crate::http::openapi::TenantProblems;
use crate::http::problem::Problem;
use crate::messaging::members::{self, MemberError};

/// Removes a member. Conversations with their number stay.
#[utoipa::path(
    delete,
    path = "/v1/members/{id}",
    tag = "Members",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Removed."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn delete_member(
    access: Authorized<MembersWrite>,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let removed = access.change(async |db, _| {
        members::delete(db, id).await?;
        Ok::<_, MemberError>(((), Act::on("member.removed", "member", id)))
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}
