use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
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
        let name = name.map(|text| faults.name("organization_name", &text, 1..=120));
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
    let registry = gateway.registry.connect().await?;
    let tenant = tenants::find(&registry, access.caller.tenant()).await?;
    let tenant = tenant.ok_or(RouterError::Unknown)?;
    drop(registry);
    if edit.is_done(&tenant) {
        access.change(async |_, _| Ok::<_, Problem>(((), None::<Act>))).await?;
        return Ok(Json(TenantDocument::from(&tenant)));
    }
    let zone = edit.timezone.as_ref().map(Timezone::as_str);
    let detail = json!({"organization_name": edit.organization_name, "timezone": zone});
    let entries = ["tenant.change_requested", "tenant.changed"];
    let changed = change_registry(&access, entries, detail, async |id, origin| {
        let edited = gateway.provisioner.edit_tenant(id, edit, origin).await?;
        Ok(edited.ok_or(RouterError::Unknown)?)
    });
    Ok(Json(TenantDocument::from(&changed.await?)))
}

/// Does something to the organization in the registry, for a caller who may do so when it is done.
///
/// The registry and the tenant's database do not commit at once. The registry's part is in one transaction with an entry in its
/// own log. The tenant's log says before that it is wanted, and after that it was done: whatever is cut off, nothing is done that
/// nobody is known to have wanted, and nothing is said to be done that is not.
async fn change_registry<T>(
    access: &Authorized<TenantManage>,
    [requested, done]: [&'static str; 2],
    detail: Value,
    change: impl AsyncFnOnce(TenantId, &Origin) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let id = access.caller.tenant();
    let act = |action| Act::on(action, "tenant", id).with(detail.clone());
    access.change(async |_, _| Ok::<_, Problem>(((), act(requested)))).await?;
    // In the registry nobody of a tenant is named: their own log has it all.
    let origin = Origin { ip: None, user_agent: None, ..access.origin().await? };
    let mut changed = None;
    let noted = access.change(async |_, rights| {
        let actor = Actor { name: "staff".to_owned(), ..rights.actor.clone() };
        changed = Some(change(id, &Origin { actor, ..origin }).await?);
        Ok::<_, Problem>(((), act(done)))
    });
    match (noted.await, changed) {
        (Ok(()), Some(changed)) => Ok(changed),
        // It is done, and the caller must not be told that it is not.
        (Err(problem), Some(changed)) => {
            tracing::warn!(tenant = %id, code = problem.code().as_str(), "the audit log of a tenant lacks `{done}`");
            Ok(changed)
        }
        (Err(problem), None) => Err(problem),
        (Ok(()), None) => Err(Code::Internal.into()),
    }
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
    let by = account.principal();
    gateway.authentication.prove(&access.tenant, &by, (password, factor), &client).await?;
    let entries = ["tenant.closing_requested", "tenant.closed"];
    let closed = change_registry(&access, entries, json!({}), async |id, origin| {
        match gateway.provisioner.change_life(id, LifeChange::Delete, origin).await? {
            true => Ok(()),
            // Suspended in this very moment, or closed by somebody else.
            false => Err(Code::Conflict.into()),
        }
    });
    closed.await?;
    Ok(StatusCode::NO_CONTENT)
}
