use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::audit::{Act, Actor, Origin};
use crate::authentication::SecondFactor;
use crate::http::extract::permission::{MembersRead, TenantManage};
use crate::http::extract::{Account, Authorized, CalledBy, Checked, Faults, JsonBody};
use crate::http::openapi::TenantProblems;
use crate::http::problem::Problem;
use crate::http::routes::auth::TenantDocument;
use crate::http::routes::auth::mfa::{check_factor, check_password};
use crate::http::{Code, Gateway};
use crate::identifiers::{TenantId, Timezone};
use crate::provisioning::LifeChange;
use crate::registry::tenants::{self, TenantEdit};
use crate::tenant_router::RouterError;

/// The organization.
#[utoipa::path(
    get,
    path = "/v1/tenant",
    tag = "Organization",
    responses((status = 200, description = "The organization.", body = TenantDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn show_own_tenant(access: Authorized<MembersRead>) -> Json<TenantDocument> {
    Json(TenantDocument::from(&*access.tenant))
}

/// What is absent stays.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChangeTenant {
    organization_name: Option<String>,
    /// IANA name.
    timezone: Option<String>,
}

impl Checked for ChangeTenant {
    type Output = TenantEdit;

    fn check(self, faults: &mut Faults) -> Option<TenantEdit> {
        let name = self.organization_name;
        let name = name.map(|text| faults.text("organization_name", &text, 1..=120));
        let timezone = self.timezone.map(|zone| faults.required("timezone", &zone));
        Some(TenantEdit {
            organization_name: name.flatten(),
            timezone: timezone.flatten(),
            plan: None,
        })
    }
}

/// Changes what is given. The slug stays.
#[utoipa::path(
    patch,
    path = "/v1/tenant",
    tag = "Organization",
    request_body = ChangeTenant,
    responses((status = 200, description = "The organization.", body = TenantDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn change_tenant(
    State(gateway): State<Gateway>,
    access: Authorized<TenantManage>,
    JsonBody(edit): JsonBody<ChangeTenant>,
) -> Result<Json<TenantDocument>, Problem> {
    let (id, now) = (access.caller.tenant(), gateway.clock.now());
    let changed = access.change(async |_| {
        // What the registry refuses leaves no entry.
        let registry = gateway.registry.connect().await?;
        let zone = edit.timezone.as_ref().map(Timezone::as_str);
        let noted = json!({"organization_name": edit.organization_name, "timezone": zone});
        tenants::edit(&registry, id, edit, now).await?;
        let tenant = tenants::find(&registry, id).await?.ok_or(RouterError::Unknown)?;
        Ok::<_, Problem>((tenant, Act::on("tenant.changed", "tenant", id).with(noted)))
    });
    Ok(Json(TenantDocument::from(&changed.await?)))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CloseTenant {
    /// The organization's slug, as a confirmation.
    #[schema(required = true)]
    confirm: String,
    /// The caller's, once more.
    #[schema(required = true)]
    password: String,
    /// Where the caller has a second factor.
    totp_code: Option<String>,
    /// In the place of `totp_code`.
    recovery_code: Option<String>,
}

impl Checked for CloseTenant {
    type Output = (String, SecretString, Option<SecondFactor>);

    fn check(self, faults: &mut Faults) -> Option<Self::Output> {
        let confirm = faults.text("confirm", &self.confirm, 1..=40);
        let password = check_password(faults, "password", self.password);
        let factor = check_factor(faults, self.totp_code, self.recovery_code);
        Some((confirm?, password?, factor))
    }
}

/// Closes the organization: nobody is served any more. For a while the operators of this service can bring it back; then
/// it is removed for good, with all that it holds.
#[utoipa::path(
    post,
    path = "/v1/tenant/close",
    tag = "Organization",
    request_body = CloseTenant,
    responses((status = 204, description = "Closed."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn close_tenant(
    State(gateway): State<Gateway>,
    access: Authorized<TenantManage>,
    account: Account,
    CalledBy(client): CalledBy,
    JsonBody((confirm, password, factor)): JsonBody<CloseTenant>,
) -> Result<StatusCode, Problem> {
    if confirm != access.tenant.slug {
        return Err(Problem::invalid("confirm", "is not the organization's slug"));
    }
    let proven =
        gateway.authentication.prove(&access.tenant, &account.claims, (password, factor), &client);
    proven.await?;
    let origin = access.origin().await?;
    let act = Act::on("tenant.closed", "tenant", access.tenant.id);
    access.change(async |_| Ok::<_, Problem>(((), act))).await?;
    // In the registry nobody of a tenant is named: their own log has it all.
    let actor = Actor { name: "staff".to_owned(), ..origin.actor };
    let origin = Origin { actor, ip: None, user_agent: None, ..origin };
    let id = TenantId(access.tenant.id);
    match gateway.provisioner.change_life(id, LifeChange::Delete, &origin).await? {
        true => Ok(StatusCode::NO_CONTENT),
        // Suspended in this very moment, or closed by somebody else.
        false => Err(Code::Conflict.into()),
    }
}
