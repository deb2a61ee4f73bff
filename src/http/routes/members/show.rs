use super::MemberDocument;
use crate::http::extract::permission::MembersRead;
use crate::http::extract::{Authorized, Id};
use crate::http::json::Json;
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::members;

/// One member.
#[utoipa::path(
    get,
    path = "/v1/members/{id}",
    tag = "Members",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The member.", body = MemberDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn show_member(
    access: Authorized<MembersRead>,
    Id(id): Id,
) -> Result<Json<MemberDocument>, Problem> {
    let db = access.connect().await?;
    Ok(Json(members::find(&db, id).await?.into()))
}
