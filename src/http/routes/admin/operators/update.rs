use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::Gateway;
use crate::http::extract::operator_permission::OperatorsManage;
use crate::http::extract::{Checked, FieldErrors, Id, JsonBody, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::routes::admin::auth::OperatorDocument;
use crate::registry::people::operators::OperatorChange;

/// Absent fields stay as they are.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpdateOperator {
    name: Option<String>,
    /// `viewer`, `support` or `admin`.
    role: Option<String>,
    /// `active` or `disabled`. A disabled operator is signed out everywhere, at once.
    status: Option<String>,
}

impl Checked for UpdateOperator {
    type Output = OperatorChange;

    fn check(self, errors: &mut FieldErrors) -> Option<OperatorChange> {
        let name = self.name.map(|name| errors.name("name", &name, 1..=120));
        let role = errors.optional_word("role", self.role.as_deref());
        let status = errors.optional_word("status", self.status.as_deref());
        Some(OperatorChange { name: name.flatten(), role: role?, status: status? })
    }
}

/// Changes the given fields. The change takes effect with the operator's next request.
///
/// A change that would leave no active admin gets `conflict`.
#[utoipa::path(
    patch,
    path = "/v1/admin/operators/{id}",
    tag = "Operators",
    params(("id" = Uuid, Path)),
    request_body = UpdateOperator,
    responses((status = 200, description = "The operator.", body = OperatorDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn update_operator(
    State(gateway): State<Gateway>,
    operator: Operator<OperatorsManage>,
    Id(id): Id,
    JsonBody(change): JsonBody<UpdateOperator>,
) -> Result<Json<OperatorDocument>, Problem> {
    let changed = gateway.operators.directory.change(id, change, &operator.origin).await?;
    Ok(Json(OperatorDocument::of(&gateway, &changed)?))
}
