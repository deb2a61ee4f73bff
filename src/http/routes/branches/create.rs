use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::BranchDocument;
use crate::audit::AuditEvent;
use crate::http::Gateway;
use crate::http::extract::permission::MembersWrite;
use crate::http::extract::{Authorized, Checked, FieldErrors, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::identifiers::Timezone;
use crate::messaging::branches::{self, BranchError};

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CreateBranch {
    #[schema(required = true)]
    name: String,
    /// IANA name; the organization's time zone where absent.
    timezone: Option<String>,
}

impl Checked for CreateBranch {
    type Output = (String, Option<Timezone>);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let name = errors.text("name", &self.name, 1..=120);
        let timezone = errors.optional("timezone", self.timezone.as_deref());
        Some((name?, timezone?))
    }
}

/// Adds a branch. Names are unique among the branches of an organization.
#[utoipa::path(
    post,
    path = "/v1/branches",
    tag = "Branches",
    request_body = CreateBranch,
    responses((status = 201, description = "The branch.", body = BranchDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn create_branch(
    State(gateway): State<Gateway>,
    access: Authorized<MembersWrite>,
    JsonBody((name, timezone)): JsonBody<CreateBranch>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<BranchDocument>), Problem> {
    let timezone =
        timezone.or_else(|| access.tenant.timezone.parse().ok()).unwrap_or(Timezone::UTC);
    let now = gateway.clock.now();
    let created = access.change(async |db, _| {
        let branch = branches::create(db, name, timezone.as_str(), now).await?;
        let event = AuditEvent::on("branch.created", "branch", branch.id);
        Ok::<_, BranchError>((branch, event))
    });
    let branch = created.await?;
    let location = [(header::LOCATION, format!("/v1/branches/{}", branch.id))];
    Ok((StatusCode::CREATED, location, Json(branch.into())))
}
