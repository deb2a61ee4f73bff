use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{RoleDocument, check_permissions};
use crate::audit::AuditEvent;
use crate::http::Gateway;
use crate::http::extract::permission::StaffManage;
use crate::http::extract::{Authorized, Checked, FieldErrors, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::roles::{self, RoleError};

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CreateRole {
    #[schema(required = true)]
    name: String,
    /// From the permissions that the caller has.
    permissions: Vec<String>,
}

impl Checked for CreateRole {
    type Output = (String, Vec<String>);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let name = errors.name("name", &self.name, 1..=40);
        let permissions = check_permissions(errors, &self.permissions);
        Some((name?, permissions?))
    }
}

/// Adds a role with some of the caller's permissions.
#[utoipa::path(
    post,
    path = "/v1/roles",
    tag = "Staff",
    request_body = CreateRole,
    responses((status = 201, description = "The role.", body = RoleDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn create_role(
    State(gateway): State<Gateway>,
    access: Authorized<StaffManage>,
    JsonBody((name, permissions)): JsonBody<CreateRole>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<RoleDocument>), Problem> {
    let now = gateway.clock.now();
    let created = access.change(async |db, rights| {
        let role = roles::create(db, name, permissions, rights, now).await?;
        let event = AuditEvent::on("role.created", "role", role.id);
        let event = event.with(json!({"name": role.name, "permissions": role.permissions}));
        Ok::<_, RoleError>((role, event))
    });
    let role = created.await?;
    // No call reads a single role: the list shows it.
    let location = [(header::LOCATION, "/v1/roles".to_owned())];
    Ok((StatusCode::CREATED, location, Json(role.into())))
}
