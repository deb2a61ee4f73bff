use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::RunDocument;
use crate::http::Gateway;
use crate::http::extract::operator_permission::RunsRead;
use crate::http::extract::{Checked, FieldErrors, Operator, PageDocument, Parameters, list_page};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::identifiers::TenantId;
use crate::paging::PageRequest;
use crate::registry::runs::provisioning_runs::{self, Filter};

#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListRuns {
    /// `pending`, `running`, `compensating`, `completed` or `failed`.
    status: Option<String>,
    /// `create_tenant`, `announce_tenant`, `purge_tenant` or `reprovision_tenant`.
    kind: Option<String>,
    #[param(value_type = Option<Uuid>)]
    tenant_id: Option<String>,
    /// Rows at most, 1 to 200; 50 where absent.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

impl Checked for ListRuns {
    type Output = (Filter, PageRequest);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let status = errors.optional_word("status", self.status.as_deref());
        let kind = errors.optional_word("kind", self.kind.as_deref());
        let tenant = errors.optional_id("tenant_id", self.tenant_id.as_deref());
        let page = list_page(errors, self.limit.as_deref(), self.cursor.as_deref());
        Some((Filter { status: status?, kind: kind?, tenant: tenant?.map(TenantId) }, page?))
    }
}

/// Runs, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/runs",
    tag = "Operators: runs",
    params(ListRuns),
    responses((status = 200, description = "A part of the list.", body = PageDocument<RunDocument>), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn list_runs(
    State(gateway): State<Gateway>,
    _: Operator<RunsRead>,
    Parameters((filter, page)): Parameters<ListRuns>,
) -> Result<Json<PageDocument<RunDocument>>, Problem> {
    let db = gateway.registry.connect().await?;
    Ok(PageDocument::from_page(provisioning_runs::page(&db, &filter, page).await?))
}
