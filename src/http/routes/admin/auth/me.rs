use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::OperatorDocument;
use crate::http::Gateway;
use crate::http::extract::Operator;
use crate::http::extract::operator_permission::{OwnAccount, permissions_of};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;

#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorMeDocument {
    operator: OperatorDocument,
    /// Permissions of the role. Empty where a second factor is required and the operator has none.
    permissions: Vec<&'static str>,
}

/// The operator of the token.
#[utoipa::path(
    get,
    path = "/v1/admin/auth/me",
    tag = "Operators: own account",
    responses((status = 200, description = "The caller.", body = OperatorMeDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn operator_me(
    State(gateway): State<Gateway>,
    operator: Operator<OwnAccount>,
) -> Result<Json<OperatorMeDocument>, Problem> {
    let caller = &operator.caller.operator;
    Ok(Json(OperatorMeDocument {
        operator: OperatorDocument::of(&gateway, caller)?,
        permissions: permissions_of(caller.role),
    }))
}
