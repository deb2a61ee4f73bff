use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{MemberDocument, check_tags};
use crate::audit::AuditEvent;
use crate::http::Gateway;
use crate::http::extract::permission::MembersWrite;
use crate::http::extract::{Authorized, Checked, FieldErrors, Id, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::members::{self, MemberChanges, MemberError};

/// Absent fields stay as they are. An empty text clears `last_name`, `email` and `branch_id`.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpdateMember {
    first_name: Option<String>,
    last_name: Option<String>,
    phone_number: Option<String>,
    email: Option<String>,
    branch_id: Option<String>,
    /// Replaces all tags.
    tags: Option<Vec<String>>,
}

impl Checked for UpdateMember {
    type Output = MemberChanges;

    fn check(self, errors: &mut FieldErrors) -> Option<MemberChanges> {
        let first_name = self.first_name.map(|text| errors.text("first_name", &text, 1..=80));
        let last_name = self.last_name.map(|text| errors.text("last_name", &text, 0..=80));
        let phone_number = self.phone_number.map(|text| errors.required("phone_number", &text));
        let email = self.email.map(|text| errors.optional("email", Some(&text)));
        let branch_id = self.branch_id.map(|text| match text.trim() {
            "" => Some(None),
            text => errors.optional_id("branch_id", Some(text)),
        });
        let tags = self.tags.map(|tags| check_tags(errors, &tags));
        // A value that did not parse has left its field error, and then the changes are not used.
        Some(MemberChanges {
            first_name: first_name.flatten(),
            last_name: last_name.flatten(),
            phone_number: phone_number.flatten(),
            email: email.flatten(),
            branch_id: branch_id.flatten(),
            tags: tags.flatten(),
        })
    }
}

/// Changes the given fields. Conversations with a number that the member has no longer end.
#[utoipa::path(
    patch,
    path = "/v1/members/{id}",
    tag = "Members",
    params(("id" = Uuid, Path)),
    request_body = UpdateMember,
    responses((status = 200, description = "The member.", body = MemberDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn update_member(
    State(gateway): State<Gateway>,
    access: Authorized<MembersWrite>,
    Id(id): Id,
    JsonBody(changes): JsonBody<UpdateMember>,
) -> Result<Json<MemberDocument>, Problem> {
    let now = gateway.clock.now();
    let is_act = !changes.is_empty();
    let changed = access.change(async |db, _| {
        let member = members::update(db, id, changes, now).await?;
        Ok::<_, MemberError>((
            member,
            is_act.then(|| AuditEvent::on("member.changed", "member", id)),
        ))
    });
    Ok(Json(changed.await?.into()))
}
