use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{find, life};
use crate::http::Gateway;
use crate::http::extract::operator_permission::TenantsManage;
use crate::http::extract::{Checked, FieldErrors, Id, Operator, Parameters};
use crate::http::problem::{FieldError, Problem};
use crate::http::responses::AdminProblems;
use crate::tenants::StatusChange;

#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteTenant {
    /// The tenant's slug, as a confirmation.
    #[param(required = true)]
    confirm: String,
}

impl Checked for DeleteTenant {
    type Output = String;

    fn check(self, errors: &mut FieldErrors) -> Option<String> {
        errors.text("confirm", &self.confirm, 1..=100)
    }
}

/// Deletes a tenant: its users get no answers any more. It can be restored for some time, then it
/// is removed for good.
#[utoipa::path(
    delete,
    path = "/v1/admin/tenants/{id}",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path), DeleteTenant),
    responses((status = 204, description = "Deleted."), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn delete_tenant(
    State(gateway): State<Gateway>,
    operator: Operator<TenantsManage>,
    Id(id): Id,
    Parameters(confirm): Parameters<DeleteTenant>,
) -> Result<StatusCode, Problem> {
    if find(&gateway, id).await?.slug != confirm {
        return Err(Problem::validation(vec![FieldError {
            field: "confirm".to_owned(),
            code: "invalid",
            message: "is not the slug of this tenant".to_owned(),
        }]));
    }
    life::change(&gateway, id, StatusChange::Delete, &operator.origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
