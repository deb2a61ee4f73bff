use axum::Json;

use crate::http::audit::{AuditParameters, EntryDocument};
use crate::http::extract::permission::AuditRead;
use crate::http::extract::{Authorized, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::audit_log;

/// Actions of staff, of their programs, and of operators in impersonation sessions, newest first.
#[utoipa::path(
    get,
    path = "/v1/tenant/audit-log",
    tag = "Organization",
    params(AuditParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<EntryDocument>), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn list_own_audit_log(
    access: Authorized<AuditRead>,
    Parameters((filter, page)): Parameters<AuditParameters>,
) -> Result<Json<PageDocument<EntryDocument>>, Problem> {
    let db = access.connect().await?;
    Ok(PageDocument::from_page(audit_log::list(&db, filter, page).await?))
}
