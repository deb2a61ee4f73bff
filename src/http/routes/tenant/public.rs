use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Code;
use crate::http::Gateway;
use crate::http::extract::{CalledHost, Limited, Open};
use crate::http::problem::Problem;
use crate::http::responses::HostProblems;
use crate::registry::tenants::Status;

/// The public facts of an organization.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublicTenantDocument {
    slug: String,
    organization_name: String,
}

/// The organization of the called host, for a login page.
///
/// A suspended organization gets `tenant_suspended`, as its staff would later. A deleted
/// organization, and one that was never finished, get the answer of an unknown host.
#[utoipa::path(
    get,
    path = "/v1/tenant/public",
    tag = "Tenant",
    responses(
        (status = 200, description = "The organization.", body = PublicTenantDocument),
        HostProblems,
    ),
)]
pub(crate) async fn show_public_tenant(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    CalledHost(host): CalledHost,
) -> Result<Json<PublicTenantDocument>, Problem> {
    let directory = gateway.router.directory();
    let host = host.ok_or(Code::TenantNotFound)?;
    let id = directory.tenant_of_host(&host).await?.ok_or(Code::TenantNotFound)?;
    let tenant = directory.tenant(id).await?.ok_or(Code::TenantNotFound)?;
    match tenant.status {
        Status::Active => Ok(Json(PublicTenantDocument {
            slug: tenant.slug.clone(),
            organization_name: tenant.organization_name.clone(),
        })),
        Status::Suspended => Err(Code::TenantSuspended.into()),
        Status::Pending
        | Status::Provisioning
        | Status::Failed
        | Status::Deleted
        | Status::Purging
        | Status::Purged => Err(Code::TenantNotFound.into()),
    }
}
