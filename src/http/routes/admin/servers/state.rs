use axum::Json;
use axum::extract::State;
use uuid::Uuid;

use super::ServerDocument;
use crate::audit::Origin;
use crate::http::extract::operator_permission::ServersManage;
use crate::http::extract::{Id, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::{Code, Gateway};
use crate::identifiers::ServerId;
use crate::registry::tenants::database_servers::{self, Occupancy, State as ServerState};

/// Drains the server: it gets no new tenants from now on, because it is to be emptied.
#[utoipa::path(
    post,
    path = "/v1/admin/servers/{id}/drain",
    tag = "Operators: servers",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The server.", body = ServerDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn drain_server(
    State(gateway): State<Gateway>,
    operator: Operator<ServersManage>,
    Id(id): Id,
) -> Result<Json<ServerDocument>, Problem> {
    change(&gateway, id, ServerState::Draining, &operator.origin).await
}

/// Opens the server: it gets new tenants again, as long as it has room.
///
/// A server without credentials for creating tenants gets none: `conflict`.
#[utoipa::path(
    post,
    path = "/v1/admin/servers/{id}/open",
    tag = "Operators: servers",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The server.", body = ServerDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn open_server(
    State(gateway): State<Gateway>,
    operator: Operator<ServersManage>,
    Id(id): Id,
) -> Result<Json<ServerDocument>, Problem> {
    change(&gateway, id, ServerState::Active, &operator.origin).await
}

async fn find(gateway: &Gateway, id: Uuid) -> Result<Occupancy, Problem> {
    let db = gateway.registry.connect().await?;
    let all = database_servers::list(&db).await?;
    Ok(all.into_iter().find(|row| row.server.id.0 == id).ok_or(Code::NotFound)?)
}

async fn change(
    gateway: &Gateway,
    id: Uuid,
    state: ServerState,
    origin: &Origin,
) -> Result<Json<ServerDocument>, Problem> {
    let Occupancy { mut server, tenants } = find(gateway, id).await?;
    if state == ServerState::Active && !server.can_be_administered() {
        return Err(Problem::with_detail(
            Code::Conflict,
            "The server has no credentials for making tenants. Add it once more on the command line, with its URL.",
        ));
    }
    if server.state != state {
        gateway.fleet.change_server(ServerId(id), state, None, origin).await?;
        server.state = state;
    }
    Ok(Json(Occupancy { server, tenants }.into()))
}
