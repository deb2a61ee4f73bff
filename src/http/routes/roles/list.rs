use axum::Json;

use super::RoleDocument;
use crate::http::extract::permission::StaffManage;
use crate::http::extract::{Authorized, ListParameters, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::roles;

/// Roles, newest first.
#[utoipa::path(
    get,
    path = "/v1/roles",
    tag = "Staff",
    params(ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<RoleDocument>), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn list_roles(
    access: Authorized<StaffManage>,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<RoleDocument>>, Problem> {
    let db = access.connect().await?;
    Ok(PageDocument::from_page(roles::list(&db, page).await?))
}
