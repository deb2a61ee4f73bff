//! The expected content of the database servers: every database and role that is in use or may be
//! about to be created, read in one statement.

use sea_orm::{DbBackend, FromQueryResult, Statement};

use super::Status;
use crate::identifiers::{RunId, ServerId, TenantId};
use crate::registry::{OnRegistry, RegistryError};

/// The holder of a name on a database server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A tenant that is not purged.
    Tenant(Status),
    /// A warm database.
    Spare {
        /// True if the warm database is complete and not being made, claimed or removed.
        is_ready: bool,
    },
    /// An open run, which may be about to create the database or role.
    Run,
}

/// Names on a database server that are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The holder of the names.
    pub holder: Holder,
    /// The server of the holder. `None` if it is not decided yet.
    pub server: Option<ServerId>,
    /// The name of a database.
    pub database: Option<String>,
    /// The name of a role.
    pub role: Option<String>,
    /// The slug of the tenant.
    pub slug: Option<String>,
    /// The open run of the tenant.
    pub run: Option<RunId>,
}

impl Entry {
    /// True if both names must be on the server at this moment. False while they are being created
    /// or removed.
    pub fn is_settled(&self) -> bool {
        match self.holder {
            Holder::Tenant(_) => self.run.is_none(),
            Holder::Spare { is_ready } => is_ready,
            Holder::Run => false,
        }
    }
}

#[derive(FromQueryResult)]
struct Row {
    status: Option<Status>,
    is_ready: Option<bool>,
    server_id: Option<ServerId>,
    database_name: Option<String>,
    role_name: Option<String>,
    tenant_id: Option<TenantId>,
    slug: Option<String>,
    run_id: Option<RunId>,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        let Row { server_id: server, slug, run_id: run, .. } = row;
        let (mut database, mut role) = (row.database_name, row.role_name);
        let holder = match (row.status, row.is_ready) {
            (Some(status), _) => Holder::Tenant(status),
            (None, Some(is_ready)) => Holder::Spare { is_ready },
            (None, None) => {
                database = row.tenant_id.map(|id| id.database_name());
                role.clone_from(&database);
                Holder::Run
            }
        };
        Self { holder, server, database, role, slug, run }
    }
}

/// One statement, so that no name moves from one part to another in between. A resource belongs to
/// its tenant, or to no tenant if the tenant is gone.
const READ: &str = "
WITH busy AS (
    SELECT tenant_id, id AS run_id FROM provisioning_runs
    WHERE status IN ('pending', 'running', 'compensating') AND kind <> 'announce_tenant'
), living AS (
    SELECT tenants.*, busy.run_id FROM tenants LEFT JOIN busy ON busy.tenant_id = tenants.id WHERE status <> 'purged'
)
SELECT status, NULL::boolean AS is_ready, server_id, database_name, role_name, id AS tenant_id, slug, run_id FROM living
UNION ALL
SELECT living.status, NULL, resource.server_id, CASE resource.kind WHEN 'database' THEN resource.reference END,
    CASE resource.kind WHEN 'role' THEN resource.reference END, living.id, living.slug, living.run_id
FROM resources AS resource JOIN living ON living.id = resource.tenant_id
WHERE resource.released_at IS NULL AND resource.kind IN ('database', 'role')
  AND resource.reference NOT IN (living.database_name, living.role_name)
UNION ALL
SELECT NULL, state = 'ready', server_id, name, NULL, claimed_by, NULL, NULL FROM spare_databases
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, tenant_id, NULL, run_id FROM busy
";

/// All names that are in use.
pub async fn read(db: &impl OnRegistry) -> Result<Vec<Entry>, RegistryError> {
    let statement = Statement::from_string(DbBackend::Postgres, READ);
    Ok(Row::find_by_statement(statement).all(db).await?.into_iter().map(Entry::from).collect())
}
