//! Roles: the group from which tenants' roles have their rights, and the login role of each tenant.

use super::{Administration, AdministrationError, plain, quoted, sqlstate};
use crate::postgres::scram;

const DUPLICATE_OBJECT: &str = "42710";

/// Roles with the ownership tag that have no connection limit, or a lower one.
const BELOW_LIMIT: &str = "
SELECT rolname::text FROM pg_roles JOIN pg_shdescription ON objoid = oid AND classoid = 'pg_authid'::regclass
WHERE rolcanlogin AND description = $1 AND rolconnlimit < $2
";

/// A login role to be created.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The name of the role.
    pub name: &'a str,
    /// The group from which the role has its rights.
    pub group: &'a str,
    /// The password in clear: 24 random bytes in hexadecimal. Only its verifier is sent to the
    /// server.
    pub password: &'a str,
    /// 16 random bytes for the SCRAM verifier.
    pub salt: &'a [u8; 16],
    /// The ownership tag, set as the comment on the role.
    pub mark: &'a str,
    /// Sessions that the role may have at once.
    pub connection_limit: u32,
}

impl Administration {
    /// Creates a role that groups rights and cannot log in. An existing role is left as it is.
    pub async fn create_group(&mut self, name: &str) -> Result<(), AdministrationError> {
        match self.run(format!("CREATE ROLE {} NOLOGIN", quoted(name)?)).await {
            Err(e) if sqlstate(&e).as_deref() == Some(DUPLICATE_OBJECT) => Ok(()),
            // Two calls at once: the loser gets a unique violation of the catalogue instead of the
            // "already exists" error.
            Err(e)
                if e.as_database_error()
                    .is_some_and(sqlx::error::DatabaseError::is_unique_violation) =>
            {
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Creates a login role, or gives an existing one this password, this group and this ownership
    /// tag.
    pub async fn create_login(&mut self, login: Login<'_>) -> Result<(), AdministrationError> {
        let (role, group, limit) =
            (quoted(login.name)?, quoted(login.group)?, login.connection_limit);
        let verifier = scram::verifier(login.password, login.salt, scram::OF_A_RANDOM_PASSWORD);
        let mark = format!("COMMENT ON ROLE {role} IS '{}'", plain(login.mark)?);
        let created = self
            .run(format!(
                "CREATE ROLE {role} LOGIN CONNECTION LIMIT {limit} PASSWORD '{verifier}' IN ROLE {group}; {mark}"
            ))
            .await;
        match created {
            Err(e) if sqlstate(&e).as_deref() == Some(DUPLICATE_OBJECT) => {
                let again = format!(
                    "ALTER ROLE {role} LOGIN CONNECTION LIMIT {limit} PASSWORD '{verifier}'; GRANT {group} TO {role}; {mark}"
                );
                Ok(self.run(again).await?)
            }
            other => Ok(other?),
        }
    }

    /// Drops a role. Its databases must be gone first.
    pub async fn drop_role(&mut self, name: &str) -> Result<(), AdministrationError> {
        Ok(self.run(format!("DROP ROLE IF EXISTS {}", quoted(name)?)).await?)
    }

    /// Gives every login role with this ownership tag at least this connection limit. A role
    /// without a limit gets it; a higher limit stays. Returns the number of changed roles.
    pub async fn limit_connections(
        &mut self,
        mark: &str,
        limit: u32,
    ) -> Result<usize, AdministrationError> {
        let wanted = i32::try_from(limit).unwrap_or(i32::MAX);
        let query = sqlx::query_scalar(BELOW_LIMIT).bind(mark).bind(wanted);
        let names: Vec<String> = query.fetch_all(&mut self.socket).await?;
        for name in &names {
            let sql = format!("ALTER ROLE {} CONNECTION LIMIT {wanted}", quoted(name)?);
            self.run(sql).await?;
        }
        Ok(names.len())
    }
}
