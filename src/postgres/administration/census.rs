//! Which databases and roles are on a server, and which of them bear a mark.

use std::collections::BTreeMap;

use sqlx::Row as _;

use super::{Administration, AdministrationError};

/// What is on a server. The roles that PostgreSQL has by itself are not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All databases by name, templates included.
    pub databases: BTreeMap<String, DatabaseSeen>,
    /// All roles by name, and whether each bears the mark that was asked for.
    pub roles: BTreeMap<String, bool>,
}

/// What can be seen of a database from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseSeen {
    /// It bears the mark that was asked for.
    pub is_marked: bool,
    /// PUBLIC may connect, or the tenants' group, or a tenant's role of another name.
    pub is_open: bool,
    /// Sessions in it of roles that may not connect to it.
    pub uninvited: i64,
}

/// `$1`: the mark; `$2`: the tenants' group.
const COUNT: &str = "
WITH tenants AS (
    SELECT member AS oid FROM pg_auth_members JOIN pg_roles ON pg_roles.oid = roleid WHERE rolname = $2
    UNION ALL SELECT oid FROM pg_roles WHERE rolname = $2
    UNION ALL SELECT 0
)
SELECT true AS is_database, datname::text AS name, coalesce(description = $1, false) AS is_marked,
    datallowconn AND EXISTS (
        SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) AS granted
        JOIN tenants ON tenants.oid = granted.grantee LEFT JOIN pg_roles ON pg_roles.oid = granted.grantee
        WHERE granted.privilege_type = 'CONNECT' AND rolname IS DISTINCT FROM datname) AS is_open,
    (SELECT count(*) FROM pg_stat_activity AS session WHERE session.datid = pg_database.oid AND usesysid IS NOT NULL
        AND NOT has_database_privilege(usesysid, datid, 'CONNECT')) AS uninvited
FROM pg_database LEFT JOIN pg_shdescription ON objoid = pg_database.oid AND classoid = 'pg_database'::regclass
UNION ALL
SELECT false, rolname::text, coalesce(description = $1, false), false, 0
FROM pg_roles LEFT JOIN pg_shdescription ON objoid = pg_roles.oid AND classoid = 'pg_authid'::regclass
WHERE rolname NOT LIKE 'pg\\_%'
";

impl Administration {
    /// Everything that is there at this moment. `group`: that of the tenants' roles.
    pub async fn census(&mut self, mark: &str, group: &str) -> Result<Census, AdministrationError> {
        let mut census = Census::default();
        for row in sqlx::query(COUNT).bind(mark).bind(group).fetch_all(&mut self.socket).await? {
            let (name, is_marked) = (row.try_get("name")?, row.try_get("is_marked")?);
            if row.try_get("is_database")? {
                let (is_open, uninvited) = (row.try_get("is_open")?, row.try_get("uninvited")?);
                census.databases.insert(name, DatabaseSeen { is_marked, is_open, uninvited });
            } else {
                census.roles.insert(name, is_marked);
            }
        }
        Ok(census)
    }
}
