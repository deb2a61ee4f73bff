//! What a server reports about itself: whether it can hold tenants, and which databases and roles
//! it has.

use std::collections::BTreeMap;

use sqlx::Row as _;

use super::{Administration, AdministrationError};

/// The oldest supported PostgreSQL, as `server_version_num`.
const OLDEST_VERSION: i32 = 150_000;
/// From this version on, CREATEROLE extends only to roles that the user has made itself.
const CREATEROLE_IS_LIMITED: i32 = 160_000;

/// Why a server cannot hold tenants. Each text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The server's `server_version_num` is below 150000, the oldest version that was tried.
    #[error("it is PostgreSQL {}; 15 or later is needed", .0 / 10_000)]
    TooOld(i32),
    /// The server is a standby and cannot be written to.
    #[error("it is a standby and cannot be written to; name its primary server")]
    Standby,
    /// The user cannot create databases or roles.
    #[error(
        "the user `{user}` may not make databases and roles; as a superuser, ALTER ROLE \"{user}\" CREATEDB CREATEROLE"
    )]
    NoRights {
        /// The administration's user.
        user: String,
    },
    /// Another user created the group of the tenants' roles.
    #[error(
        "the role `{group}` was made by another user, so that `{user}` cannot take new roles into it; \
         use that user, or as a superuser, GRANT {group} TO \"{user}\" WITH ADMIN OPTION"
    )]
    GroupOfAnother {
        /// The administration's user.
        user: String,
        /// The group of the tenants' roles.
        group: String,
    },
}

/// What a server reports about itself and about the user that asks.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The identifier of the cluster. It is the same under all addresses of the cluster and for its
    /// standbys.
    pub system_identifier: i64,
    /// True if the user may end sessions of other roles. Without that right, dropping a database
    /// waits until these sessions have ended.
    pub ends_sessions: bool,
    version: i32,
    is_standby: bool,
    user: String,
    makes_databases: bool,
    makes_roles: bool,
    /// True if the user may add roles to the group, provided the group exists.
    has_group: bool,
    is_superuser: bool,
}

impl Capabilities {
    /// The reason against creating tenants on this server with their roles in `group`. `None` if
    /// there is none.
    pub fn unsupported(&self, group: &str) -> Option<Unsupported> {
        let user = self.user.clone();
        let makes_all = self.is_superuser || (self.makes_databases && self.makes_roles);
        let may_admit = self.is_superuser || self.version < CREATEROLE_IS_LIMITED || self.has_group;
        if self.version < OLDEST_VERSION {
            Some(Unsupported::TooOld(self.version))
        } else if self.is_standby {
            Some(Unsupported::Standby)
        } else if !makes_all {
            Some(Unsupported::NoRights { user })
        } else if !may_admit {
            Some(Unsupported::GroupOfAnother { user, group: group.to_owned() })
        } else {
            None
        }
    }
}

impl Administration {
    /// Asks the server for its version and role, and for what its user may do with roles in
    /// `group`.
    pub async fn capabilities(&mut self, group: &str) -> Result<Capabilities, AdministrationError> {
        let sql = "SELECT current_setting('server_version_num')::int4, pg_is_in_recovery(),
                (SELECT system_identifier FROM pg_control_system()),
                rolname::text, rolsuper, rolcreatedb, rolcreaterole,
                pg_has_role(rolname, 'pg_signal_backend', 'USAGE'),
                coalesce((SELECT pg_has_role(own.rolname, grouped.oid, 'USAGE WITH ADMIN OPTION')
                          FROM pg_roles grouped WHERE grouped.rolname = $1), true)
            FROM pg_roles own WHERE rolname = current_user";
        let row = sqlx::query(sql).bind(group).fetch_one(&mut self.socket).await?;
        Ok(Capabilities {
            version: row.try_get(0)?,
            is_standby: row.try_get(1)?,
            system_identifier: row.try_get(2)?,
            user: row.try_get(3)?,
            is_superuser: row.try_get(4)?,
            makes_databases: row.try_get(5)?,
            makes_roles: row.try_get(6)?,
            ends_sessions: row.try_get(7)?,
            has_group: row.try_get(8)?,
        })
    }
}

/// The databases and roles of a server, without the roles that PostgreSQL creates itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerContents {
    /// All databases by name, templates included.
    pub databases: BTreeMap<String, DatabaseSeen>,
    /// All roles by name, and whether each has the requested ownership tag.
    pub roles: BTreeMap<String, bool>,
}

/// The state of a database, as seen from outside of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseSeen {
    /// True if the database has the requested ownership tag.
    pub is_marked: bool,
    /// True if PUBLIC, the tenants' group or a tenant's role of another name may connect.
    pub is_open: bool,
    /// Sessions in the database whose roles may not connect to it.
    pub uninvited: i64,
}

/// `$1`: the ownership tag; `$2`: the tenants' group.
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
    /// All databases and roles at this moment. `group` is the group of the tenants' roles.
    pub async fn contents(
        &mut self,
        mark: &str,
        group: &str,
    ) -> Result<ServerContents, AdministrationError> {
        let mut contents = ServerContents::default();
        for row in sqlx::query(COUNT).bind(mark).bind(group).fetch_all(&mut self.socket).await? {
            let (name, is_marked) = (row.try_get("name")?, row.try_get("is_marked")?);
            if row.try_get("is_database")? {
                let (is_open, uninvited) = (row.try_get("is_open")?, row.try_get("uninvited")?);
                contents.databases.insert(name, DatabaseSeen { is_marked, is_open, uninvited });
            } else {
                contents.roles.insert(name, is_marked);
            }
        }
        Ok(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// An ordinary user with the rights that it needs, on a server of this version.
    fn fit(version: i32) -> Capabilities {
        Capabilities {
            system_identifier: 7,
            ends_sessions: true,
            version,
            is_standby: false,
            user: "gateway".to_owned(),
            makes_databases: true,
            makes_roles: true,
            has_group: true,
            is_superuser: false,
        }
    }

    fn superuser() -> Capabilities {
        let (makes_databases, makes_roles, has_group) = (false, false, false);
        Capabilities { is_superuser: true, makes_databases, makes_roles, has_group, ..fit(180_000) }
    }

    #[rstest]
    #[case::the_oldest(fit(150_000), None)]
    #[case::a_later_one(fit(180_001), None)]
    #[case::a_superuser(superuser(), None)]
    #[case::too_old(fit(140_012), Some("PostgreSQL 14; 15 or later"))]
    #[case::a_standby(Capabilities { is_standby: true, ..fit(170_000) }, Some("its primary"))]
    #[case::without_createdb(
        Capabilities { makes_databases: false, ..fit(170_000) },
        Some("ALTER ROLE \"gateway\" CREATEDB CREATEROLE")
    )]
    #[case::without_createrole(
        Capabilities { makes_roles: false, ..fit(170_000) },
        Some("ALTER ROLE \"gateway\" CREATEDB CREATEROLE")
    )]
    #[case::with_a_foreign_group_where_that_does_not_matter(
        Capabilities { has_group: false, ..fit(150_000) },
        None
    )]
    #[case::with_a_foreign_group(
        Capabilities { has_group: false, ..fit(160_000) },
        Some("GRANT tenants TO \"gateway\" WITH ADMIN OPTION")
    )]
    fn what_stands_against_a_server_is_told(
        #[case] capabilities: Capabilities,
        #[case] expected: Option<&str>,
    ) {
        let said = capabilities.unsupported("tenants").map(|unsupported| unsupported.to_string());
        match expected {
            None => assert_eq!(said, None),
            Some(text) => assert!(said.as_ref().is_some_and(|s| s.contains(text)), "{said:?}"),
        }
    }
}
