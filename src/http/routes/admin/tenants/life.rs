//! Changes of a tenant's status, from an expected status to another.

use axum::Json;
use axum::extract::State;
use uuid::Uuid;

use super::{AdminTenantDocument, conflict, find};
use crate::audit::Origin;
use crate::http::Gateway;
use crate::http::extract::operator_permission::{TenantsManage, TenantsSupport};
use crate::http::extract::{Id, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::identifiers::TenantId;
use crate::registry::tenants::Tenant;
use crate::tenants::StatusChange;

/// Changes the status, and returns the tenant after the change. `conflict`: its current status does
/// not allow it.
pub(super) async fn change(
    gateway: &Gateway,
    id: Uuid,
    change: StatusChange,
    origin: &Origin,
) -> Result<Tenant, Problem> {
    let changed = gateway.tenants.change_status(TenantId(id), change, origin).await?;
    let tenant = find(gateway, id).await?;
    if changed { Ok(tenant) } else { Err(conflict(&tenant, change.done())) }
}

/// Suspends a tenant: its users cannot sign in or make calls. No data is lost.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{id}/suspend",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The tenant.", body = AdminTenantDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn suspend_tenant(
    State(gateway): State<Gateway>,
    operator: Operator<TenantsSupport>,
    Id(id): Id,
) -> Result<Json<AdminTenantDocument>, Problem> {
    Ok(Json(change(&gateway, id, StatusChange::Suspend, &operator.origin).await?.into()))
}

/// Resumes a suspended tenant.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{id}/resume",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The tenant.", body = AdminTenantDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn resume_tenant(
    State(gateway): State<Gateway>,
    operator: Operator<TenantsSupport>,
    Id(id): Id,
) -> Result<Json<AdminTenantDocument>, Problem> {
    Ok(Json(change(&gateway, id, StatusChange::Resume, &operator.origin).await?.into()))
}

/// Restores a deleted tenant to its earlier state.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{id}/restore",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The tenant.", body = AdminTenantDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn restore_tenant(
    State(gateway): State<Gateway>,
    operator: Operator<TenantsManage>,
    Id(id): Id,
) -> Result<Json<AdminTenantDocument>, Problem> {
    Ok(Json(change(&gateway, id, StatusChange::Restore, &operator.origin).await?.into()))
}
