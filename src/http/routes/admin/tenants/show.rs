use axum::Json;
use axum::extract::State;

use super::AdminTenantDocument;
use crate::http::Gateway;
use crate::http::extract::operator_permission::TenantsRead;
use crate::http::extract::{Id, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;

/// One tenant, in any status.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{id}",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The tenant.", body = AdminTenantDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn show_tenant(
    State(gateway): State<Gateway>,
    _: Operator<TenantsRead>,
    Id(id): Id,
) -> Result<Json<AdminTenantDocument>, Problem> {
    Ok(Json(super::find(&gateway, id).await?.into()))
}
