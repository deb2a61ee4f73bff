use axum::Json;

use super::StaffDocument;
use crate::http::extract::permission::StaffManage;
use crate::http::extract::{Authorized, Id, ListParameters, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::staff_changes;

/// The staff, newest first, invited and disabled people included.
#[utoipa::path(
    get,
    path = "/v1/staff",
    tag = "Staff",
    params(ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<StaffDocument>), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn list_staff(
    access: Authorized<StaffManage>,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<StaffDocument>>, Problem> {
    let db = access.connect().await?;
    Ok(PageDocument::from_page(staff_changes::list(&db, page).await?))
}

/// One member of staff.
#[utoipa::path(
    get,
    path = "/v1/staff/{id}",
    tag = "Staff",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The member of staff.", body = StaffDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn show_staff(
    access: Authorized<StaffManage>,
    Id(id): Id,
) -> Result<Json<StaffDocument>, Problem> {
    let db = access.connect().await?;
    Ok(Json(staff_changes::find(&db, id).await?.into()))
}
