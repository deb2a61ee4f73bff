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
use crate::tenant_router::{BreakerFailure, BreakerState, PoolView};

#[derive(Serialize)]
pub(crate) struct TenantHealthDocument {
    id: Uuid,
    slug: String,
    status: Status,
    schema_version: String,
    /// True if this program works with the tenant's schema version.
    schema_supported: bool,
    /// `null`: no pool of the tenant is open on this replica.
    pool: Option<PoolDocument>,
    breaker: BreakerDocument,
    /// The last failure to reach the tenant's database or its server from here. `null`: no failure.
    last_error: Option<LastErrorDocument>,
}

#[derive(Serialize)]
struct PoolDocument {
    /// `opening` or `open`.
    state: &'static str,
    connections: u32,
    idle: u32,
    leases: usize,
    /// Leases that have no connection yet.
    waiting: usize,
}

#[derive(Serialize)]
struct BreakerDocument {
    /// `closed`, `open` or `half_open`.
    state: &'static str,
    /// Failures since the last success.
    failures: u32,
    /// State of the circuit breaker of the tenant's server.
    server: &'static str,
}

#[derive(Serialize)]
struct LastErrorDocument {
    at: DateTime<Utc>,
    text: String,
}

impl From<PoolView> for PoolDocument {
    fn from(pool: PoolView) -> Self {
        Self {
            state: if pool.is_opening { "opening" } else { "open" },
            connections: pool.connections,
            idle: pool.idle,
            leases: pool.leases,
            waiting: pool.waiting,
        }
    }
}

fn state_of(trouble: Option<&BreakerFailure>) -> &'static str {
    trouble.map_or(BreakerState::Closed, |trouble| trouble.state).name()
}

/// The state of one tenant on this replica. It reads only the directory and the router's memory. It
/// does not query the tenant's database, and does not count as a use of the pool.
pub(crate) async fn show_tenant_health(
    State(gateway): State<Gateway>,
    Id(id): Id,
) -> Result<Json<TenantHealthDocument>, Problem> {
    let id = TenantId(id);
    let tenant = gateway.router.directory().tenant(id).await?.ok_or(Code::NotFound)?;
    let trouble = gateway.router.failure_of(id);
    let of_server = gateway.router.failure_of_server(tenant.server_id);
    Ok(Json(TenantHealthDocument {
        id: tenant.id.0,
        slug: tenant.slug.clone(),
        status: tenant.status,
        schema_version: tenant.schema_version.clone(),
        schema_supported: gateway.router.supports_schema_of(&tenant),
        pool: gateway.router.pool_of(id).map(PoolDocument::from),
        breaker: BreakerDocument {
            state: state_of(trouble.as_ref()),
            failures: trouble.as_ref().map_or(0, |trouble| trouble.failures),
            server: state_of(of_server.as_ref()),
        },
        last_error: trouble
            .or(of_server)
            .map(|trouble| LastErrorDocument { at: trouble.at, text: trouble.last.to_string() }),
    }))
}
