use axum::extract::State;
use axum::http::StatusCode;

use crate::audit::AuditEvent;
use crate::http::Gateway;
use crate::http::extract::permission::MembersWrite;
use crate::http::extract::{Authorized, Id};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::members::{self, MemberError};

/// Removes a member. The member's conversations end, and stay readable.
#[utoipa::path(
    delete,
    path = "/v1/members/{id}",
    tag = "Members",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Removed."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn delete_member(
    State(gateway): State<Gateway>,
    access: Authorized<MembersWrite>,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let now = gateway.clock.now();
    let removed = access.change(async |db, _| {
        members::delete(db, id, now).await?;
        Ok::<_, MemberError>(((), AuditEvent::on("member.removed", "member", id)))
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}
