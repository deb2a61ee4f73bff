use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{AdminTenantDocument, check_plan};
use crate::http::Gateway;
use crate::http::extract::operator_permission::TenantsRead;
use crate::http::extract::{Checked, FieldErrors, Operator, PageDocument, Parameters, list_page};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::identifiers::ServerId;
use crate::paging::PageRequest;
use crate::registry::tenants::{self, Filter};

#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListTenants {
    /// `pending`, `provisioning`, `active`, `suspended`, `failed`, `deleted`, `purging` or
    /// `purged`.
    status: Option<String>,
    plan: Option<String>,
    #[param(value_type = Option<Uuid>)]
    server_id: Option<String>,
    /// A part of the slug or of the organization's name, or the id.
    q: Option<String>,
    /// Rows at most, 1 to 200; 50 where absent.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

impl Checked for ListTenants {
    type Output = (Filter, PageRequest);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let status = errors.optional_word("status", self.status.as_deref());
        let plan = self.plan.filter(|plan| !plan.is_empty());
        let plan = plan.map(|plan| check_plan(errors, &plan));
        let server = errors.optional_id("server_id", self.server_id.as_deref());
        let text = errors.text("q", self.q.as_deref().unwrap_or_default(), 0..=200);
        let page = list_page(errors, self.limit.as_deref(), self.cursor.as_deref());
        let filter = Filter {
            status: status?,
            plan: plan.flatten(),
            server: server?.map(ServerId),
            text: text.filter(|text| !text.is_empty()),
        };
        Some((filter, page?))
    }
}

/// Tenants, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants",
    tag = "Operators: tenants",
    params(ListTenants),
    responses((status = 200, description = "A part of the list.", body = PageDocument<AdminTenantDocument>), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn list_tenants(
    State(gateway): State<Gateway>,
    _: Operator<TenantsRead>,
    Parameters((filter, page)): Parameters<ListTenants>,
) -> Result<Json<PageDocument<AdminTenantDocument>>, Problem> {
    let db = gateway.registry.connect().await?;
    Ok(PageDocument::from_page(tenants::page(&db, &filter, page).await?))
}
