use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::StaffDocument;
use crate::http::Gateway;
use crate::http::extract::permission::StaffManage;
use crate::http::extract::{Authorized, Checked, FieldErrors, Id, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::staff_changes::Invitation;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct InviteStaff {
    #[schema(required = true)]
    email: String,
    #[schema(required = true)]
    first_name: String,
    #[schema(required = true)]
    last_name: String,
    /// Name of a role that permits no more than the caller's own.
    #[schema(required = true, example = "editor")]
    role: String,
}

impl Checked for InviteStaff {
    type Output = Invitation;

    fn check(self, errors: &mut FieldErrors) -> Option<Invitation> {
        let email = errors.required("email", &self.email);
        let first_name = errors.name("first_name", &self.first_name, 1..=80);
        let last_name = errors.name("last_name", &self.last_name, 1..=80);
        let role = errors.text("role", &self.role, 1..=40);
        Some(Invitation {
            email: email?,
            first_name: first_name?,
            last_name: last_name?,
            role: role?,
        })
    }
}

/// Invites a person to the staff by email. The person chooses a password and joins.
///
/// An address may be on the staff of several organizations, each with a password of its own.
#[utoipa::path(
    post,
    path = "/v1/staff",
    tag = "Staff",
    request_body = InviteStaff,
    responses((status = 201, description = "Invited.", body = StaffDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn invite_staff(
    State(gateway): State<Gateway>,
    access: Authorized<StaffManage>,
    JsonBody(new): JsonBody<InviteStaff>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<StaffDocument>), Problem> {
    let by = access.principal();
    let invited = gateway.accounts.invitations.invite(&access.tenant, new, &by).await?;
    let location = [(header::LOCATION, format!("/v1/staff/{}", invited.id))];
    Ok((StatusCode::CREATED, location, Json(invited.into())))
}

/// Sends the email of an invitation once more. The earlier email stops working.
#[utoipa::path(
    post,
    path = "/v1/staff/{id}/invitation",
    tag = "Staff",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "On its way."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn invite_staff_again(
    State(gateway): State<Gateway>,
    access: Authorized<StaffManage>,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let by = access.principal();
    gateway.accounts.invitations.invite_again(&access.tenant, id, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}
