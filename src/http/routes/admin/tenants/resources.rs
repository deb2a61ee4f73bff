use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::find;
use crate::http::Gateway;
use crate::http::extract::operator_permission::TenantsRead;
use crate::http::extract::{Id, ListParameters, Operator, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::paging::{Page, Position};
use crate::registry::runs::resources::{self, Resource};

/// Something outside the registry that was created for a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResourceDocument {
    id: Uuid,
    /// The kind, such as `database` or `role`.
    kind: String,
    reference: String,
    server_id: Option<Uuid>,
    run_id: Option<Uuid>,
    made_at: DateTime<Utc>,
    released_at: Option<DateTime<Utc>>,
}

impl From<Resource> for ResourceDocument {
    fn from(resource: Resource) -> Self {
        Self {
            id: resource.id,
            kind: resource.kind,
            reference: resource.reference,
            server_id: resource.server_id.map(|id| id.0),
            run_id: resource.run_id.map(|id| id.0),
            made_at: resource.made_at,
            released_at: resource.released_at,
        }
    }
}

/// The resources that were created for a tenant, newest first, released resources included.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{id}/resources",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path), ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<ResourceDocument>), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn list_tenant_resources(
    State(gateway): State<Gateway>,
    _: Operator<TenantsRead>,
    Id(id): Id,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<ResourceDocument>>, Problem> {
    let tenant = find(&gateway, id).await?.id;
    let db = gateway.registry.connect().await?;
    let rows = resources::of_tenant(&db, tenant).await?;
    let position = |row: &Resource| Position { at: row.made_at, id: row.id };
    Ok(PageDocument::from_page(Page::of_all(rows, page, position)))
}
