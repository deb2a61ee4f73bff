//! Where a tenant's connections lead, and the proof that they led there.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::RouterError;
use super::address::Addresses;
use crate::configuration::RouterSettings;
use crate::identifiers::TenantId;
use crate::postgres::{ConnectFailure, Target, failure};
use crate::registry::Registry;
use crate::registry::database_servers::DatabaseServer;
use crate::registry::tenants::{Tenant, password_bound_to};

/// The role through which every tenant's login role has its rights on the tables of a tenant database. It has no
/// right to connect anywhere: that right is each login role's own, for its own database.
pub const TENANT_GROUP: &str = "narthex_tenant";

/// How to reach a tenant's database. The password is opened here, and kept only inside the target.
pub(super) fn target(
    registry: &Registry,
    addresses: &Addresses,
    server: Option<&DatabaseServer>,
    tenant: &Tenant,
    settings: &RouterSettings,
) -> Result<Target, RouterError> {
    let sealed = &tenant.sealed_password;
    let password = registry
        .sealer()
        .open(&password_bound_to(TenantId(tenant.id)), sealed)
        .map_err(crate::registry::RegistryError::from)?;
    let password = String::from_utf8_lossy(&password);
    let options = addresses
        .options_for(server, &tenant.database_name)
        .map_err(RouterError::Unavailable)?
        .username(&tenant.role_name)
        .password(&password)
        .application_name("narthex")
        .options([("statement_timeout", settings.statement_timeout.as_millis().to_string())]);
    let expected = Expected {
        tenant: tenant.id,
        database: tenant.database_name.clone(),
        role: tenant.role_name.clone(),
    };
    Ok(Target {
        options,
        connect_timeout: settings.connect_timeout,
        operation_timeout: settings.statement_timeout + settings.connect_timeout,
        on_connect: Some(std::sync::Arc::new(move |socket| {
            prove(expected.clone(), socket).boxed()
        })),
    })
}

#[derive(Clone)]
struct Expected {
    tenant: Uuid,
    database: String,
    role: String,
}

/// Asks a new connection where it is. A mismatch is an alarm: somebody's data is not where the registry says.
fn prove(
    expected: Expected,
    socket: &mut PgConnection,
) -> BoxFuture<'_, Result<(), ConnectFailure>> {
    async move {
        let unreachable = |e: sqlx::Error| ConnectFailure::Unreachable(e.to_string());
        let rows = sqlx::query(
            "SELECT current_database()::text, current_user::text, (SELECT tenant_id FROM tenant_identity)",
        )
        .fetch_all(socket)
        .await
        // A table that is missing, not for us to read, or of more than one row: this is no tenant's database.
        .map_err(|e| match failure::leaves_connection_certain(&e) {
            true => ConnectFailure::WrongIdentity(e.to_string()),
            false => unreachable(e),
        })?;
        let found = rows.first().ok_or_else(|| ConnectFailure::WrongIdentity("no answer".to_owned()))?;
        let database: String = found.try_get(0).map_err(unreachable)?;
        let role: String = found.try_get(1).map_err(unreachable)?;
        let tenant: Option<Uuid> = found.try_get(2).map_err(unreachable)?;
        if database == expected.database && role == expected.role && tenant == Some(expected.tenant) {
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
