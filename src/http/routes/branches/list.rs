use axum::Json;

use super::BranchDocument;
use crate::http::extract::permission::MembersRead;
use crate::http::extract::{Authorized, ListParameters, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::branches;

/// Branches, newest first.
#[utoipa::path(
    get,
    path = "/v1/branches",
    tag = "Branches",
    params(ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<BranchDocument>), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn list_branches(
    access: Authorized<MembersRead>,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<BranchDocument>>, Problem> {
    let db = access.connect().await?;
    Ok(PageDocument::from_page(branches::list(&db, page).await?))
}
