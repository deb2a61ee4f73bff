use axum::extract::State;
use axum::http::StatusCode;

use crate::http::Gateway;
use crate::http::extract::permission::StaffManage;
use crate::http::extract::{Authorized, Id};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;

/// Removes a person from the staff. The person's sessions end; the messages they wrote stay.
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

/// Switches off the second factor of a person who has lost it. The person's sessions end.
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
