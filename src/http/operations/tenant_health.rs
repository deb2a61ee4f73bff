use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::http::extract::Id;
use crate::http::problem::Problem;
use crate::http::{Code, Gateway};
use crate::identifiers::TenantId;
use crate::registry::tenants::Status;
use crate::tenant_router::{BreakerHealth, LastError, PoolHealth, PoolState};

#[derive(Serialize)]
pub(crate) struct TenantHealthDocument {
    id: Uuid,
    slug: String,
    status: Status,
    schema_version: String,
    /// Can this program work with that schema?
    schema_supported: bool,
    /// `null`: none is open on this replica.
    pool: Option<PoolDocument>,
    breaker: Option<BreakerDocument>,
    /// Why the tenant's database could last not be reached from this replica.
    last_error: Option<LastErrorDocument>,
}

#[derive(Serialize)]
struct PoolDocument {
    /// `opening` or `open`.
    state: &'static str,
    connections: u32,
    idle: u32,
    leases: usize,
    /// Of the leases, those that have no connection yet.
    waiting: usize,
}

#[derive(Serialize)]
struct BreakerDocument {
    state: &'static str,
}

#[derive(Serialize)]
struct LastErrorDocument {
    at: DateTime<Utc>,
    text: String,
}

impl From<PoolHealth> for PoolDocument {
    fn from(pool: PoolHealth) -> Self {
        Self {
            state: match pool.state {
                PoolState::Opening => "opening",
                PoolState::Open => "open",
            },
            connections: pool.connections,
            idle: pool.idle,
            leases: pool.leases,
            waiting: pool.waiting(),
        }
    }
}

impl From<BreakerHealth> for BreakerDocument {
    fn from(breaker: BreakerHealth) -> Self {
        Self { state: breaker.state }
    }
}

impl From<LastError> for LastErrorDocument {
    fn from(error: LastError) -> Self {
        Self { at: error.at, text: error.text }
    }
}

/// How one tenant stands on this replica. Reads the directory and what the router has in memory: the tenant's own
/// database is not asked, and a pool that nobody uses stays one that nobody uses.
pub(crate) async fn show_tenant_health(
    State(gateway): State<Gateway>,
    Id(id): Id,
) -> Result<Json<TenantHealthDocument>, Problem> {
    let id = TenantId(id);
    let tenant = gateway.router.directory().tenant(id).await?.ok_or(Code::NotFound)?;
    let health = gateway.router.tenant_health(id);
    Ok(Json(TenantHealthDocument {
        id: tenant.id,
        slug: tenant.slug.clone(),
        status: tenant.status,
        schema_version: tenant.schema_version.clone(),
        schema_supported: gateway.router.supports_schema_of(&tenant),
        pool: health.pool.map(PoolDocument::from),
        breaker: health.breaker.map(BreakerDocument::from),
        last_error: health.last_error.map(LastErrorDocument::from),
    }))
}
