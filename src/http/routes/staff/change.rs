use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::StaffDocument;
use crate::http::Gateway;
use crate::http::extract::permission::StaffManage;
use crate::http::extract::{Authorized, Checked, FieldErrors, Id, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::staff_changes::StaffChanges;

/// Absent fields stay as they are.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChangeStaff {
    first_name: Option<String>,
    last_name: Option<String>,
    /// Name of a role that permits no more than the caller's own.
    role: Option<String>,
    /// `active` or `disabled`. A disabled member of staff loses all sessions.
    status: Option<String>,
}

impl Checked for ChangeStaff {
    type Output = StaffChanges;

    fn check(self, errors: &mut FieldErrors) -> Option<StaffChanges> {
        let first_name = self.first_name.map(|text| errors.name("first_name", &text, 1..=80));
        let last_name = self.last_name.map(|text| errors.name("last_name", &text, 1..=80));
        let role = self.role.map(|text| errors.text("role", &text, 1..=40));
        let active = match self.status.as_deref() {
            None => None,
            Some("active") => Some(true),
            Some("disabled") => Some(false),
            Some(_) => {
                errors.add("status", "invalid", "must be `active` or `disabled`");
                None
            }
        };
        Some(StaffChanges {
            first_name: first_name.flatten(),
            last_name: last_name.flatten(),
            role: role.flatten(),
            active,
        })
    }
}

/// Changes the given fields. A change of permissions takes effect within seconds.
///
/// A caller cannot change a person who has more permissions than the caller, and cannot give
/// permissions that the caller lacks. One owner is always left.
#[utoipa::path(
    patch,
    path = "/v1/staff/{id}",
    tag = "Staff",
    params(("id" = Uuid, Path)),
    request_body = ChangeStaff,
    responses((status = 200, description = "The member of staff.", body = StaffDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn change_staff(
    State(gateway): State<Gateway>,
    access: Authorized<StaffManage>,
    Id(id): Id,
    JsonBody(changes): JsonBody<ChangeStaff>,
) -> Result<Json<StaffDocument>, Problem> {
    let by = access.principal();
    let changed = gateway.accounts.staff.change(&access.tenant, id, changes, &by).await?;
    Ok(Json(changed.into()))
}
