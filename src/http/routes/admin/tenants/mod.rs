//! `/v1/admin/tenants`: every tenant of the installation.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod impersonate;
pub(crate) mod life;
pub(crate) mod list;
pub(crate) mod phone_numbers;
pub(crate) mod provision;
pub(crate) mod resources;
pub(crate) mod runs;
pub(crate) mod show;
pub(crate) mod update;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::extract::FieldErrors;
use crate::http::problem::Problem;
use crate::http::{Code, Gateway};
use crate::identifiers::TenantId;
use crate::registry::tenants::{self, Status, Tenant};

/// A tenant as operators see it.
#[derive(Serialize, ToSchema)]
pub(crate) struct AdminTenantDocument {
    id: Uuid,
    slug: String,
    organization_name: String,
    #[schema(value_type = String, example = "active")]
    status: Status,
    plan: String,
    timezone: String,
    server_id: Uuid,
    database: String,
    /// The newest migration of its database.
    schema_version: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
}

impl From<Tenant> for AdminTenantDocument {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id.0,
            slug: tenant.slug,
            organization_name: tenant.organization_name,
            status: tenant.status,
            plan: tenant.plan,
            timezone: tenant.timezone,
            server_id: tenant.server_id.0,
            database: tenant.database_name,
            schema_version: tenant.schema_version,
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
            deleted_at: tenant.deleted_at,
        }
    }
}

/// One tenant, in any status.
async fn find(gateway: &Gateway, id: Uuid) -> Result<Tenant, Problem> {
    let db = gateway.registry.connect().await?;
    Ok(tenants::find(&db, TenantId(id)).await?.ok_or(Code::NotFound)?)
}

/// A plan's name: lower-case letters, digits, `-` and `_`.
fn check_plan(errors: &mut FieldErrors, plan: &str) -> Option<String> {
    let plan = errors.text("plan", plan, 1..=40)?;
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !plan.chars().all(is_plain) {
        errors.add("plan", "invalid", "must be lower-case letters, digits, - and _");
        return None;
    }
    Some(plan)
}

/// The problem for a tenant whose status does not allow the request. It says what to do instead.
fn conflict(tenant: &Tenant, what: &str) -> Problem {
    let advice = match tenant.status {
        Status::Active => "It is in use.",
        Status::Pending | Status::Provisioning => {
            "It is being made or mended; `runs` of the tenant shows how far."
        }
        Status::Suspended => "`resume` lets it in again.",
        Status::Failed => "`provision` mends it.",
        Status::Deleted => "`restore` brings it back.",
        Status::Purging | Status::Purged => {
            "Its time for being restored was over; it is removed for good."
        }
    };
    let status = sea_orm::ActiveEnum::to_value(&tenant.status);
    let detail = format!("The tenant is {status} and cannot be {what}. {advice}");
    Problem::with_detail(Code::Conflict, detail)
}
