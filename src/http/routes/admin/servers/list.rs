use axum::Json;
use axum::extract::State;

use super::ServerDocument;
use crate::http::Gateway;
use crate::http::extract::operator_permission::ServersRead;
use crate::http::extract::{ListParameters, Operator, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::paging::{Page, Position};
use crate::registry::tenants::database_servers::{self, Occupancy};

/// Servers, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/servers",
    tag = "Operators: servers",
    params(ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<ServerDocument>), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn list_servers(
    State(gateway): State<Gateway>,
    _: Operator<ServersRead>,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<ServerDocument>>, Problem> {
    let db = gateway.registry.connect().await?;
    let rows = database_servers::list(&db).await?;
    let position = |row: &Occupancy| Position { at: row.server.created_at, id: row.server.id.0 };
    Ok(PageDocument::from_page(Page::of_all(rows, page, position)))
}
