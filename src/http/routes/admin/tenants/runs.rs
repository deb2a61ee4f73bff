use axum::Json;
use axum::extract::State;

use super::find;
use crate::http::Gateway;
use crate::http::extract::operator_permission::RunsRead;
use crate::http::extract::{Id, ListParameters, Operator, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::routes::admin::runs::RunDocument;
use crate::registry::runs::provisioning_runs::{self, Filter};

/// The runs of a tenant, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{id}/runs",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path), ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<RunDocument>), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn list_tenant_runs(
    State(gateway): State<Gateway>,
    _: Operator<RunsRead>,
    Id(id): Id,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<RunDocument>>, Problem> {
    let filter = Filter { tenant: Some(find(&gateway, id).await?.id), ..Filter::default() };
    let db = gateway.registry.connect().await?;
    Ok(PageDocument::from_page(provisioning_runs::page(&db, &filter, page).await?))
}
