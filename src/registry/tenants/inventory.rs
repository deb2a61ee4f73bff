//! What should be on the database servers: every database and role that somebody has or may be about to get, in one
//! look.

use sea_orm::{DbBackend, FromQueryResult, Statement};
use uuid::Uuid;

use super::Status;
use crate::identifiers::TenantId;
use crate::registry::{OnRegistry, RegistryError};

/// Who has a name on a database server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A tenant that is not purged.
    Tenant(Status),
    /// Nobody yet. `is_ready`: it is whole, and not given to anybody.
    Spare {
        /// Nobody makes, claims or removes it at this moment.
        is_ready: bool,
    },
    /// An open run, which may be about to make it.
    Run,
}

/// Names on a database server that are not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Why not.
    pub holder: Holder,
    /// Where the holder has them. `None`: that is not settled.
    pub server: Option<Uuid>,
    /// Of a database.
    pub database: Option<String>,
    /// Of a role.
    pub role: Option<String>,
    /// By which people know the tenant.
    pub slug: Option<String>,
    /// The run that works on the tenant at this moment.
    pub run: Option<Uuid>,
}

impl Entry {
    /// Must both be on the server at this moment? Not while somebody is making or removing them.
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
    server_id: Option<Uuid>,
    database_name: Option<String>,
    role_name: Option<String>,
    tenant_id: Option<Uuid>,
    slug: Option<String>,
    run_id: Option<Uuid>,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        let Row { server_id: server, slug, run_id: run, .. } = row;
        let (mut database, mut role) = (row.database_name, row.role_name);
        let holder = match (row.status, row.is_ready) {
            (Some(status), _) => Holder::Tenant(status),
            (None, Some(is_ready)) => Holder::Spare { is_ready },
            (None, None) => {
                database = row.tenant_id.map(|id| TenantId(id).database_name());
                role.clone_from(&database);
                Holder::Run
            }
        };
        Self { holder, server, database, role, slug, run }
    }
}

/// One statement, so that nothing moves from one part to another in between. A resource is its tenant's; where the
/// tenant is gone, nobody's.
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

/// Everything.
pub async fn read(db: &impl OnRegistry) -> Result<Vec<Entry>, RegistryError> {
    let statement = Statement::from_string(DbBackend::Postgres, READ);
    Ok(Row::find_by_statement(statement).all(db).await?.into_iter().map(Entry::from).collect())
}
