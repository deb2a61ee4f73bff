use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::BranchDocument;
use crate::audit::AuditEvent;
use crate::http::Gateway;
use crate::http::extract::permission::MembersWrite;
use crate::http::extract::{Authorized, Checked, FieldErrors, Id, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::identifiers::Timezone;
use crate::messaging::branches::{self, BranchChanges, BranchError};

/// Absent fields stay as they are.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpdateBranch {
    name: Option<String>,
    /// IANA name of the time zone.
    timezone: Option<String>,
}

impl Checked for UpdateBranch {
    type Output = BranchChanges;

    fn check(self, errors: &mut FieldErrors) -> Option<BranchChanges> {
        let name = self.name.map(|text| errors.text("name", &text, 1..=120));
        let timezone = self.timezone.map(|text| errors.required::<Timezone>("timezone", &text));
        Some(BranchChanges {
            name: name.flatten(),
            timezone: timezone.flatten().map(|zone| zone.as_str()),
        })
    }
}

/// Changes the given fields.
#[utoipa::path(
    patch,
    path = "/v1/branches/{id}",
    tag = "Branches",
    params(("id" = Uuid, Path)),
    request_body = UpdateBranch,
    responses((status = 200, description = "The branch.", body = BranchDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn update_branch(
    State(gateway): State<Gateway>,
    access: Authorized<MembersWrite>,
    Id(id): Id,
    JsonBody(changes): JsonBody<UpdateBranch>,
) -> Result<Json<BranchDocument>, Problem> {
    let now = gateway.clock.now();
    let is_act = !changes.is_empty();
    let changed = access.change(async |db, _| {
        let branch = branches::update(db, id, changes, now).await?;
        Ok::<_, BranchError>((
            branch,
            is_act.then(|| AuditEvent::on("branch.changed", "branch", id)),
        ))
    });
    Ok(Json(changed.await?.into()))
}
