use axum::extract::State;
use axum::http::StatusCode;

use crate::http::Gateway;
use crate::http::extract::permission::StaffManage;
use crate::http::extract::{Authorized, Id};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;

/// Removes somebody from the staff. Their sessions end; what they have written stays.
///
/// The last owner cannot be removed.
#[utoipa::path(
    delete,
    path = "/v1/staff/{id}",
    tag = "Staff",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Removed."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn remove_staff(
    State(gateway): State<Gateway>,
    access: Authorized<StaffManage>,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let by = access.principal();
    gateway.accounts.staff.remove(&access.tenant, id, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the second factor off somebody who has lost it. Their sessions end.
#[utoipa::path(
    delete,
    path = "/v1/staff/{id}/mfa",
    tag = "Staff",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Taken off."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn reset_staff_mfa(
    State(gateway): State<Gateway>,
    access: Authorized<StaffManage>,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let by = access.principal();
    gateway.accounts.staff.reset_factor(&access.tenant, id, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}
