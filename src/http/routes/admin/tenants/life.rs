//! From one status to another, if it is still that one.

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

/// Changes the status; with the tenant as it is then. `conflict`: its status stands against it.
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

/// Locks everybody of a tenant out. Nothing of it is lost.
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

/// Lets a suspended tenant in again.
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

/// Makes a deleted tenant again what it was.
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
