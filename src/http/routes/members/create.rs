use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{MemberDocument, check_tags};
use crate::audit::AuditEvent;
use crate::http::Gateway;
use crate::http::extract::permission::MembersWrite;
use crate::http::extract::{Authorized, Checked, FieldErrors, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::members::{self, MemberError, NewMember};

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CreateMember {
    #[schema(required = true)]
    first_name: String,
    last_name: String,
    /// E.164, or the same number with usual punctuation.
    #[schema(required = true, example = "+13125550101")]
    phone_number: String,
    email: Option<String>,
    #[schema(value_type = Option<Uuid>)]
    branch_id: Option<String>,
    tags: Vec<String>,
}

impl Checked for CreateMember {
    type Output = NewMember;

    fn check(self, errors: &mut FieldErrors) -> Option<NewMember> {
        let first_name = errors.text("first_name", &self.first_name, 1..=80);
        let last_name = errors.text("last_name", &self.last_name, 0..=80);
        let phone_number = errors.required("phone_number", &self.phone_number);
        let email = errors.optional("email", self.email.as_deref());
        let branch_id = errors.optional_id("branch_id", self.branch_id.as_deref());
        let tags = check_tags(errors, &self.tags);
        Some(NewMember {
            first_name: first_name?,
            last_name: last_name?,
            phone_number: phone_number?,
            email: email?,
            branch_id: branch_id?,
            tags: tags?,
        })
    }
}

/// Adds a member. There is one member for each phone number.
#[utoipa::path(
    post,
    path = "/v1/members",
    tag = "Members",
    request_body = CreateMember,
    responses((status = 201, description = "The member.", body = MemberDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn create_member(
    State(gateway): State<Gateway>,
    access: Authorized<MembersWrite>,
    JsonBody(new): JsonBody<CreateMember>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<MemberDocument>), Problem> {
    let now = gateway.clock.now();
    let created = access.change(async |db, _| {
        let member = members::create(db, new, now).await?;
        let event = AuditEvent::on("member.created", "member", member.id);
        Ok::<_, MemberError>((member, event))
    });
    let member = created.await?;
    let location = [(header::LOCATION, format!("/v1/members/{}", member.id))];
    Ok((StatusCode::CREATED, location, Json(member.into())))
}
