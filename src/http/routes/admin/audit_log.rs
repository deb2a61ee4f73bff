//! `/v1/admin/audit-log`: the actions of operators.

use axum::Json;
use axum::extract::State;

use crate::http::Gateway;
use crate::http::audit::{AuditParameters, EntryDocument};
use crate::http::extract::operator_permission::AuditRead;
use crate::http::extract::{Operator, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::registry::people::audit_log;

/// Actions of operators, by the API and by command, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/audit-log",
    tag = "Operators: audit log",
    params(AuditParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<EntryDocument>), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn list_audit_log(
    State(gateway): State<Gateway>,
    _: Operator<AuditRead>,
    Parameters((filter, page)): Parameters<AuditParameters>,
) -> Result<Json<PageDocument<EntryDocument>>, Problem> {
    let db = gateway.registry.connect().await?;
    Ok(PageDocument::from_page(audit_log::list(&db, filter, page).await?))
}
