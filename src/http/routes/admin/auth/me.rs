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
    /// What the role permits. Without a second factor nothing of it, where one is required.
    permissions: Vec<&'static str>,
}

/// Who is calling.
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
