use axum::Json;
use axum::extract::State;

use super::ServerDocument;
use crate::http::Gateway;
use crate::http::extract::operator_permission::ServersRead;
use crate::http::extract::{Operator, PageDocument};
use crate::http::openapi::AdminProblems;
use crate::http::problem::Problem;
use crate::paging::Page;
use crate::registry::database_servers;

/// All servers, oldest first.
#[utoipa::path(
    get,
    path = "/v1/admin/servers",
    tag = "Operators: servers",
    responses((status = 200, description = "All of them.", body = PageDocument<ServerDocument>), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn list_servers(
    State(gateway): State<Gateway>,
    _: Operator<ServersRead>,
) -> Result<Json<PageDocument<ServerDocument>>, Problem> {
    let db = gateway.registry.connect().await?;
    let rows = database_servers::list(&db).await?;
    Ok(PageDocument::from_page(Page { rows, next: None }))
}
