//! Which databases and roles are on a server, and which of them bear a mark.

use std::collections::BTreeMap;

use sqlx::Row as _;

use super::{Administration, AdministrationError};

/// Names, and whether each bears the mark that was asked for. The roles that PostgreSQL has by itself are not among
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All databases, templates included.
    pub databases: BTreeMap<String, bool>,
    /// All roles.
    pub roles: BTreeMap<String, bool>,
}

const COUNT: &str = "
SELECT true AS is_database, datname::text AS name, coalesce(description = $1, false) AS is_marked
FROM pg_database LEFT JOIN pg_shdescription ON objoid = pg_database.oid AND classoid = 'pg_database'::regclass
UNION ALL
SELECT false, rolname::text, coalesce(description = $1, false)
FROM pg_roles LEFT JOIN pg_shdescription ON objoid = pg_roles.oid AND classoid = 'pg_authid'::regclass
WHERE rolname NOT LIKE 'pg\\_%'
";

impl Administration {
    /// Everything that is there at this moment.
    pub async fn census(&mut self, mark: &str) -> Result<Census, AdministrationError> {
        let mut census = Census::default();
        for row in sqlx::query(COUNT).bind(mark).fetch_all(&mut self.socket).await? {
            let of_kind = match row.try_get("is_database")? {
                true => &mut census.databases,
                false => &mut census.roles,
            };
            of_kind.insert(row.try_get("name")?, row.try_get("is_marked")?);
        }
        Ok(census)
    }
}
