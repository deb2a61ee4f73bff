//! `/v1/admin/servers`: the PostgreSQL servers of the tenants.

pub(crate) mod list;
pub(crate) mod state;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::registry::tenants::database_servers::{Occupancy, State, TlsMode};

/// A server, and how many tenants it has. It never contains a password.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServerDocument {
    id: Uuid,
    name: String,
    #[schema(value_type = String, example = "active")]
    state: State,
    /// `null`: the registry's own server.
    host: Option<String>,
    port: Option<i32>,
    #[schema(value_type = Option<String>)]
    tls_mode: Option<TlsMode>,
    /// True if tenants can be created on it.
    can_be_administered: bool,
    /// Tenants that are not purged.
    tenants: i64,
    max_tenants: i32,
    created_at: DateTime<Utc>,
}

impl From<Occupancy> for ServerDocument {
    fn from(Occupancy { server, tenants }: Occupancy) -> Self {
        Self {
            can_be_administered: server.can_be_administered(),
            id: server.id.0,
            name: server.name,
            state: server.state,
            host: server.host,
            port: server.port,
            tls_mode: server.tls_mode,
            tenants,
            max_tenants: server.max_tenants,
            created_at: server.created_at,
        }
    }
}
