use axum::Json;

use super::ApiKeyDocument;
use crate::http::extract::permission::TenantManage;
use crate::http::extract::{Authorized, ListParameters, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::api_keys;

/// Keys, newest first, expired and revoked keys included.
#[utoipa::path(
    get,
    path = "/v1/api-keys",
    tag = "API keys",
    params(ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<ApiKeyDocument>), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn list_api_keys(
    access: Authorized<TenantManage>,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<ApiKeyDocument>>, Problem> {
    let db = access.connect().await?;
    Ok(PageDocument::from_page(api_keys::list(&db, page).await?))
}
