use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::Code;
use crate::http::Gateway;
use crate::http::extract::permission::{AuditRead, TenantManage};
use crate::http::extract::{Authorized, Id, ListParameters, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::impersonations::{self, Impersonation};

/// An impersonation session: an operator of the service acts in the organization.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImpersonationDocument {
    id: Uuid,
    operator_name: String,
    /// The operator's own words.
    reason: String,
    /// True if the operator may also change data.
    may_write: bool,
    created_at: DateTime<Utc>,
    /// When the session ends by itself.
    expires_at: DateTime<Utc>,
    /// When the session was ended before that.
    revoked_at: Option<DateTime<Utc>>,
}

impl From<Impersonation> for ImpersonationDocument {
    fn from(impersonation: Impersonation) -> Self {
        Self {
            id: impersonation.id,
            operator_name: impersonation.operator_name,
            reason: impersonation.reason,
            may_write: impersonation.may_write,
            created_at: impersonation.created_at,
            expires_at: impersonation.expires_at,
            revoked_at: impersonation.revoked_at,
        }
    }
}

/// Impersonation sessions: which operators acted in the organization and why, newest first.
#[utoipa::path(
    get,
    path = "/v1/tenant/impersonations",
    tag = "Organization",
    params(ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<ImpersonationDocument>), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn list_impersonations(
    access: Authorized<AuditRead>,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<ImpersonationDocument>>, Problem> {
    let db = access.connect().await?;
    Ok(PageDocument::from_page(impersonations::list(&db, page).await?))
}

/// Ends an impersonation session: within a second the operator has no access any more.
#[utoipa::path(
    delete,
    path = "/v1/tenant/impersonations/{id}",
    tag = "Organization",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Shut out."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn revoke_impersonation(
    State(gateway): State<Gateway>,
    access: Authorized<TenantManage>,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let tenant = access.caller.tenant();
    let revoked = access.change(async |db, _| {
        let event = gateway.operators.impersonations.revoke(db, tenant, id).await?;
        Ok::<_, Problem>(((), event.ok_or(Code::NotFound)?))
    });
    revoked.await?;
    Ok(StatusCode::NO_CONTENT)
}
