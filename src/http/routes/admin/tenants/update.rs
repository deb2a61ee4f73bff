use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{AdminTenantDocument, check_plan, conflict, find};
use crate::http::Gateway;
use crate::http::extract::operator_permission::TenantsManage;
use crate::http::extract::{Checked, FieldErrors, Id, JsonBody, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::identifiers::TenantId;
use crate::registry::tenants::TenantEdit;
use crate::tenants::EditError;

/// Absent fields stay as they are.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpdateTenant {
    /// 1 to 120 characters.
    organization_name: Option<String>,
    /// IANA name of the time zone.
    timezone: Option<String>,
    plan: Option<String>,
}

impl Checked for UpdateTenant {
    type Output = TenantEdit;

    fn check(self, errors: &mut FieldErrors) -> Option<TenantEdit> {
        let name = self.organization_name;
        let name = name.map(|name| errors.name("organization_name", &name, 1..=120));
        let timezone = self.timezone.map(|zone| errors.required("timezone", &zone));
        let plan = self.plan.map(|plan| check_plan(errors, &plan));
        // A wrong value has left its field error, and then this edit is not used.
        Some(TenantEdit {
            organization_name: name.flatten(),
            timezone: timezone.flatten(),
            plan: plan.flatten(),
        })
    }
}

/// Changes the given fields.
#[utoipa::path(
    patch,
    path = "/v1/admin/tenants/{id}",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path)),
    request_body = UpdateTenant,
    responses((status = 200, description = "The tenant.", body = AdminTenantDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn update_tenant(
    State(gateway): State<Gateway>,
    operator: Operator<TenantsManage>,
    Id(id): Id,
    JsonBody(edit): JsonBody<UpdateTenant>,
) -> Result<Json<AdminTenantDocument>, Problem> {
    match gateway.tenants.edit(TenantId(id), edit, &operator.origin).await {
        Ok(tenant) => Ok(Json(tenant.into())),
        Err(EditError::NotFound) => Err(conflict(&find(&gateway, id).await?, "changed")),
        Err(EditError::Registry(error)) => Err(error.into()),
    }
}
