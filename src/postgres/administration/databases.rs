//! Databases. Each is created with `ALLOW_CONNECTIONS false`, because `CREATE DATABASE` lets PUBLIC
//! connect and a later `REVOKE` ends no session. A database is opened only after PUBLIC has lost
//! that right.

use std::time::Duration;

use sqlx::Row as _;

use super::{Administration, AdministrationError, MAINTENANCE_DATABASE, plain, quoted, sqlstate};

const OBJECT_IN_USE: &str = "55006";
const DUPLICATE_DATABASE: &str = "42P04";

/// How often the sessions of a database are counted until they have ended.
const VACATE_ATTEMPTS: u32 = 12;

/// Ends the sessions that we may end in a database, and counts them (autovacuum has no user). With
/// `$2`, sessions of roles that may connect to it are left alone.
const END_SESSIONS: &str = "
SELECT count(*), count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM (
    SELECT pid FROM pg_stat_activity JOIN pg_roles ON pg_roles.oid = usesysid
    WHERE datname = $1 AND pid <> pg_backend_pid()
      AND NOT ($2 AND has_database_privilege(usesysid, datid, 'CONNECT'))
      AND (pg_has_role(current_user, usesysid, 'USAGE')
           OR NOT rolsuper AND pg_has_role(current_user, 'pg_signal_backend', 'USAGE'))
    OFFSET 0) AS endable
";
const COUNT_SESSIONS: &str = "
SELECT count(*) FROM pg_stat_activity
WHERE datname = $1 AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
  AND NOT ($2 AND has_database_privilege(usesysid, datid, 'CONNECT'))
";

/// A database that is given to a role.
#[derive(Clone, Copy)]
pub struct DatabaseAssignment<'a> {
    /// The name of the database.
    pub database: &'a str,
    /// The only role that may connect, in addition to the administration's.
    pub role: &'a str,
    /// The ownership tag, set as the comment on the database.
    pub mark: &'a str,
}

impl Administration {
    /// Creates an empty database to which only the administration may connect.
    pub async fn create_empty_database(&mut self, name: &str) -> Result<(), AdministrationError> {
        let sql = format!(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' ALLOW_CONNECTIONS false",
            quoted(name)?
        );
        self.create_database(name, sql).await?;
        self.open_to_administration(name).await
    }

    /// Copies a template, at most two copies at once on a server. The copy accepts no connection
    /// until it is opened. An existing database is left as it is: the caller has to check that it
    /// is the expected one.
    pub async fn copy_database(
        &mut self,
        template: &str,
        name: &str,
    ) -> Result<(), AdministrationError> {
        let sql = format!(
            "CREATE DATABASE {} TEMPLATE {} ALLOW_CONNECTIONS false",
            quoted(name)?,
            quoted(template)?
        );
        let slot = self.take_copy_slot().await?;
        let copied = self.create_database(name, sql).await;
        self.unlock_number(slot).await?;
        copied
    }

    async fn create_database(
        &mut self,
        name: &str,
        sql: String,
    ) -> Result<(), AdministrationError> {
        match self.while_in_use(name, sql).await {
            Err(AdministrationError::Statement(e))
                if sqlstate(&e).as_deref() == Some(DUPLICATE_DATABASE)
                    || e.as_database_error()
                        .is_some_and(sqlx::error::DatabaseError::is_unique_violation) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Repeats a statement for some seconds while other sessions use the object: a copy or a
    /// closing session soon ends.
    async fn while_in_use(&mut self, name: &str, sql: String) -> Result<(), AdministrationError> {
        for attempt in 0..20 {
            match self.run(sql.clone()).await {
                Err(e) if sqlstate(&e).as_deref() == Some(OBJECT_IN_USE) => {
                    tokio::time::sleep(Duration::from_millis(25 * (attempt + 1))).await;
                }
                other => return Ok(other?),
            }
        }
        Err(AdministrationError::InUse(name.to_owned()))
    }

    /// Revokes PUBLIC's right to connect. A database's grants are not copied with its template, so
    /// every database has to be closed by itself. Existing sessions stay.
    pub async fn close_to_public(&mut self, name: &str) -> Result<(), AdministrationError> {
        Ok(self
            .run(format!("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC", quoted(name)?))
            .await?)
    }

    /// True if every role may connect to a database. PostgreSQL answers a REVOKE by a role that is
    /// not the owner with a warning only, so the result has to be queried.
    pub async fn is_open_to_public(&mut self, name: &str) -> Result<bool, AdministrationError> {
        self.exists(
            "SELECT 1 FROM pg_database, aclexplode(COALESCE(datacl, acldefault('d', datdba))) AS granted
             WHERE datname = $1 AND granted.grantee = 0 AND granted.privilege_type = 'CONNECT'",
            name,
        )
        .await
    }

    /// Opens a database to the administration and to roles that were granted the right, not to
    /// PUBLIC. Both happen in one transaction, so that PUBLIC never has the right. Sessions of
    /// roles without the right to connect are ended. Fails if one of them cannot be ended.
    pub async fn open_to_administration(&mut self, name: &str) -> Result<(), AdministrationError> {
        let database = quoted(name)?;
        self.run(format!(
            "REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC;
             ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true"
        ))
        .await?;
        self.end_sessions(name, true).await
    }

    /// Renames a warm database to a tenant's database and opens it to the administration alone, in
    /// one transaction. Sessions in it are ended. If a session stays,
    /// [`AdministrationError::InUse`] is returned within one or two seconds and nothing is changed.
    pub async fn take_over(&mut self, from: &str, to: &str) -> Result<(), AdministrationError> {
        let (source, target) = (quoted(from)?, quoted(to)?);
        self.end_sessions(from, false).await?;
        let renamed = self
            .run(format!(
                "ALTER DATABASE {source} RENAME TO {target};
                 REVOKE CONNECT, TEMPORARY ON DATABASE {target} FROM PUBLIC;
                 ALTER DATABASE {target} WITH ALLOW_CONNECTIONS true"
            ))
            .await;
        match renamed {
            Err(e) if sqlstate(&e).as_deref() == Some(OBJECT_IN_USE) => {
                Err(AdministrationError::InUse(from.to_owned()))
            }
            other => Ok(other?),
        }
    }

    /// Gives a database to a role, in one transaction: sets its ownership tag, and lets this role
    /// connect and no other.
    pub async fn assign_database(
        &mut self,
        handover: &DatabaseAssignment<'_>,
    ) -> Result<(), AdministrationError> {
        let (name, role) = (quoted(handover.database)?, quoted(handover.role)?);
        let mark = plain(handover.mark)?;
        Ok(self
            .run(format!(
                "REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC;
                 ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true; GRANT CONNECT ON DATABASE {name} TO {role};
                 COMMENT ON DATABASE {name} IS '{mark}'"
            ))
            .await?)
    }

    /// Closes a database to connections and gives it our ownership tag, until a tenant gets it.
    pub async fn park_database(
        &mut self,
        name: &str,
        mark: &str,
    ) -> Result<(), AdministrationError> {
        let (database, mark) = (quoted(name)?, plain(mark)?);
        Ok(self
            .run(format!(
                "REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC;
                 ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false; COMMENT ON DATABASE {database} IS '{mark}'"
            ))
            .await?)
    }

    /// Closes a database to new connections, and ends the sessions in it that may be ended.
    pub async fn close_database(&mut self, name: &str) -> Result<(), AdministrationError> {
        self.run(format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", quoted(name)?)).await?;
        sqlx::query(END_SESSIONS).bind(name).bind(false).execute(&mut self.socket).await?;
        Ok(())
    }

    /// Ends sessions in a database and waits a moment until they have gone: all sessions, or with
    /// `uninvited` only sessions of roles that may not connect to it.
    async fn end_sessions(
        &mut self,
        name: &str,
        uninvited: bool,
    ) -> Result<(), AdministrationError> {
        for attempt in 0..VACATE_ATTEMPTS {
            let counted = sqlx::query(COUNT_SESSIONS).bind(name).bind(uninvited);
            let sessions: i64 = counted.fetch_one(&mut self.socket).await?.try_get(0)?;
            if sessions == 0 {
                return Ok(());
            }
            sqlx::query(END_SESSIONS).bind(name).bind(uninvited).execute(&mut self.socket).await?;
            tokio::time::sleep(Duration::from_millis(5 << attempt.min(5))).await;
        }
        Err(AdministrationError::InUse(name.to_owned()))
    }

    /// Closes these databases and PostgreSQL's default ones to tenants: a tenant's role may connect
    /// to its own database and to no other. Logs each database that it could not close.
    pub async fn close_to_tenants(
        &mut self,
        databases: &[&str],
    ) -> Result<(), AdministrationError> {
        for database in databases.iter().chain(&[MAINTENANCE_DATABASE, "template1"]) {
            let closed = self.close_to_public(database).await;
            if closed.is_err() || self.is_open_to_public(database).await? {
                tracing::warn!(
                    "every role may connect to the database `{database}`; as its owner, \
                     REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"
                );
            }
        }
        Ok(())
    }

    /// Drops a database and ends the sessions in it.
    pub async fn drop_database(&mut self, name: &str) -> Result<(), AdministrationError> {
        Ok(self.run(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name)?)).await?)
    }

    /// Closes a database to connections and then gives it its final name. In this order, a database
    /// with that name is complete.
    pub async fn finish_template(
        &mut self,
        from: &str,
        to: &str,
    ) -> Result<(), AdministrationError> {
        let (source, target) = (quoted(from)?, quoted(to)?);
        let rename = format!("ALTER DATABASE {source} RENAME TO {target}");
        self.close_database(from).await?;
        self.while_in_use(from, rename).await
    }
}
