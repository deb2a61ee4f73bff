//! Where a tenant's connections lead, and the check that they led there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::address::Addresses;
use super::admission::Admission;
use super::error::RouterError;
use crate::configuration::RouterSettings;
use crate::identifiers::{ServerId, TenantId};
use crate::postgres::administration::Capacity;
use crate::postgres::{ConnectFailure, Target, failure};
use crate::registry::tenants::Tenant;
use crate::registry::tenants::database_servers::DatabaseServer;
use crate::registry::{Registry, RegistryError};
use crate::sealing::aad;

/// The role from which every tenant's login role has its rights on the tables of a tenant database.
/// It may connect to no database: each login role has that right itself, for its own database.
pub const TENANT_GROUP: &str = "narthex_tenant";

/// How often the server checks whether the client of a running statement is still connected.
const CLIENT_CHECK_MILLIS: &str = "2000";

/// The inputs that are the same for all tenants of a replica.
pub(super) struct Route<'a> {
    pub registry: &'a Registry,
    pub settings: &'a RouterSettings,
    pub addresses: &'a Addresses,
    pub admission: &'a Arc<Admission>,
    /// Connections that end sessions by force, at the same time.
    pub termination_permits: &'a Arc<Semaphore>,
}

/// The target of a tenant's database. The password is unsealed here and kept only inside the
/// target.
pub(super) fn target(
    route: Route<'_>,
    tenant: &Tenant,
    address: &DatabaseServer,
) -> Result<Target, RouterError> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let Route { registry, settings, addresses, admission, termination_permits } = route;
    let sealed = &tenant.sealed_password;
    let password = registry
        .sealer()
        .open(&aad::tenant_password(tenant.id), sealed)
        .map_err(RegistryError::from)?;
    let password = String::from_utf8_lossy(&password);
    let options = addresses
        .options_for(Some(address), &tenant.database_name)
        .map_err(RouterError::Unavailable)?
        .username(&tenant.role_name)
        .password(&password)
        .options([
            ("statement_timeout", settings.statement_timeout.as_millis().to_string()),
            // The server also detects by itself that a client is gone (PostgreSQL 14 and later).
            ("client_connection_check_interval", CLIENT_CHECK_MILLIS.to_owned()),
        ]);
    let expected = Expected {
        tenant: tenant.id,
        database: tenant.database_name.clone(),
        role: tenant.role_name.clone(),
        server: address.id,
        admission: Arc::downgrade(admission),
    };
    let pool = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(Target {
        options,
        name: format!("narthex/{}/{pool}", registry.process()),
        connect_timeout: settings.connect_timeout,
        operation_timeout: settings.statement_timeout + settings.connect_timeout,
        on_connect: Some(Arc::new(move |socket| prove(expected.clone(), socket).boxed())),
        admission_hook: None,
        termination_permits: termination_permits.clone(),
        signals: admission.server(address.id).signals.clone(),
        renewals: Arc::default(),
    })
}

#[derive(Clone)]
struct Expected {
    tenant: TenantId,
    database: String,
    role: String,
    server: ServerId,
    /// Gets the number of connections that the server takes, from the answer.
    admission: Weak<Admission>,
}

/// Asks a new connection which database it is in. A mismatch is an alert: a tenant's data is not
/// where the registry says.
fn prove(
    expected: Expected,
    socket: &mut PgConnection,
) -> BoxFuture<'_, Result<(), ConnectFailure>> {
    async move {
        let unreachable = |e: sqlx::Error| ConnectFailure::Unreachable(e.to_string());
        let sql = format!(
            "SELECT current_database()::text, current_user::text, (SELECT tenant_id FROM tenant_identity), {}",
            Capacity::SQL
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .persistent(false)
        .fetch_all(socket)
        .await
        // A table that is missing, not readable or has more than one row: the database is no
        // tenant's database.
        .map_err(|e| match failure::leaves_connection_certain(&e) {
            true => {
                tracing::error!(expected = %expected.tenant, error = %e, "ALARM: a database does not say whose it is");
                ConnectFailure::WrongIdentity(e.to_string())
            }
            false => unreachable(e),
        })?;
        let found = rows.first().ok_or_else(|| ConnectFailure::WrongIdentity("no answer".to_owned()))?;
        let database: String = found.try_get(0).map_err(unreachable)?;
        let role: String = found.try_get(1).map_err(unreachable)?;
        let tenant: Option<Uuid> = found.try_get(2).map_err(unreachable)?;
        let tenant = tenant.map(TenantId);
        if database == expected.database && role == expected.role && tenant == Some(expected.tenant) {
            if let Some(admission) = expected.admission.upgrade() {
                admission.learn(expected.server, Capacity::of_row(found, 3).map_err(unreachable)?);
            }
            return Ok(());
        }
        tracing::error!(
            expected = %expected.tenant, ?tenant, database, role,
            "ALARM: a connection led to the wrong tenant's database and was closed"
        );
        Err(ConnectFailure::WrongIdentity(format!("{database} as {role} says it is {tenant:?}")))
    }
    .boxed()
}
