use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::accounts::SecondFactor;
use crate::http::Gateway;
use crate::http::extract::permission::{MembersRead, TenantManage};
use crate::http::extract::{Account, Authorized, CalledBy, Checked, FieldErrors, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::http::routes::auth::TenantDocument;
use crate::http::routes::auth::mfa::{check_factor, check_password};
use crate::registry::tenants::TenantEdit;

/// The caller's organization.
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

/// Absent fields stay as they are.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChangeTenant {
    organization_name: Option<String>,
    /// IANA name of the time zone.
    timezone: Option<String>,
}

impl Checked for ChangeTenant {
    type Output = TenantEdit;

    fn check(self, errors: &mut FieldErrors) -> Option<TenantEdit> {
        let name = self.organization_name;
        let name = name.map(|text| errors.name("organization_name", &text, 1..=120));
        let timezone = self.timezone.map(|zone| errors.required("timezone", &zone));
        Some(TenantEdit {
            organization_name: name.flatten(),
            timezone: timezone.flatten(),
            plan: None,
        })
    }
}

/// Changes the given fields. The slug cannot be changed.
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
    let by = access.principal();
    let edited = gateway.own_tenant.edit(&access.tenant, &by, edit).await;
    Ok(Json(TenantDocument::from(&access.judge(edited).await?)))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CloseTenant {
    /// The organization's slug, as a confirmation.
    #[schema(required = true)]
    confirm: String,
    /// The caller's password.
    #[schema(required = true)]
    password: String,
    /// Six digits of the authenticator app, where the caller has a second factor.
    totp_code: Option<String>,
    /// A recovery code instead of `totp_code`.
    recovery_code: Option<String>,
}

impl Checked for CloseTenant {
    type Output = (String, SecretString, Option<SecondFactor>);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let confirm = errors.text("confirm", &self.confirm, 1..=40);
        let password = check_password(errors, "password", self.password);
        let factor = check_factor(errors, self.totp_code, self.recovery_code);
        Some((confirm?, password?, factor))
    }
}

/// Closes the organization: its users get no answers any more. For some time the operators of this
/// service can restore it. Then it is removed for good, with all its data.
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
    let (by, own) = (access.principal(), account.principal());
    let shown = (password, factor);
    let closed = gateway.own_tenant.close(&access.tenant, &by, &own, shown, &client).await;
    access.judge(closed).await?;
    Ok(StatusCode::NO_CONTENT)
}
