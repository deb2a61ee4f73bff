use axum::Json;

use super::BranchDocument;
use crate::http::extract::permission::MembersRead;
use crate::http::extract::{Authorized, Id};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::branches;

/// One branch.
#[utoipa::path(
    get,
    path = "/v1/branches/{id}",
    tag = "Branches",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The branch.", body = BranchDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn show_branch(
    access: Authorized<MembersRead>,
    Id(id): Id,
) -> Result<Json<BranchDocument>, Problem> {
    let db = access.connect().await?;
    Ok(Json(branches::find(&db, id).await?.into()))
}
