use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{RoleDocument, check_permissions};
use crate::audit::AuditEvent;
use crate::http::Gateway;
use crate::http::extract::permission::StaffManage;
use crate::http::extract::{Authorized, Checked, FieldErrors, Id, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::roles::{self, RoleError};

/// Absent fields stay as they are.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChangeRole {
    name: Option<String>,
    /// Replaces all permissions.
    permissions: Option<Vec<String>>,
}

impl Checked for ChangeRole {
    type Output = (Option<String>, Option<Vec<String>>);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let name = self.name.map(|text| errors.name("name", &text, 1..=40));
        let permissions = self.permissions.map(|names| check_permissions(errors, &names));
        Some((name.flatten(), permissions.flatten()))
    }
}

/// Changes the given fields. The change takes effect within seconds for everybody with the role.
///
/// The owner role keeps its permissions, and built-in roles keep their names.
#[utoipa::path(
    patch,
    path = "/v1/roles/{id}",
    tag = "Staff",
    params(("id" = Uuid, Path)),
    request_body = ChangeRole,
    responses((status = 200, description = "The role.", body = RoleDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn change_role(
    State(gateway): State<Gateway>,
    access: Authorized<StaffManage>,
    Id(id): Id,
    JsonBody(changes): JsonBody<ChangeRole>,
) -> Result<Json<RoleDocument>, Problem> {
    let now = gateway.clock.now();
    let changed = access.change(async |db, rights| {
        let (role, is_changed) = roles::change(db, id, changes, rights, now).await?;
        let event = AuditEvent::on("role.changed", "role", id);
        let event = event.with(json!({"name": role.name, "permissions": role.permissions}));
        Ok::<_, RoleError>((role, is_changed.then_some(event)))
    });
    Ok(Json(changed.await?.into()))
}
