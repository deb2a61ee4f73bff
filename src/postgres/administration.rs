//! Administration of one server: roles and databases. Every act is idempotent: doing it again, or undoing what
//! was never done, changes nothing. Names are checked to be plain identifiers before they reach DDL.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::failure::{self, ConnectFailure};
use super::scram;

mod census;
mod locks;
mod fitness;

pub use census::Census;
pub use fitness::{Fitness, Unfit};
pub use locks::ServerLock;

/// The database that every server has, for statements that concern the server as a whole.
const MAINTENANCE_DATABASE: &str = "postgres";
/// No statement, and no lock of another, may hold an act of administration for ever.
const LIMITS: [(&str, &str); 2] = [("statement_timeout", "120s"), ("lock_timeout", "60s")];
/// A connection that takes longer to answer nothing is of no use.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
const OBJECT_IN_USE: &str = "55006";
const DUPLICATE_DATABASE: &str = "42P04";
const DUPLICATE_OBJECT: &str = "42710";

/// Why an act of administration failed.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    /// No connection to the server.
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    /// The server refused the statement, or the connection broke in it.
    #[error("the database server refused: {0}")]
    Statement(#[from] sqlx::Error),
    /// A name that must not reach DDL.
    #[error("`{0}` is not a name that we make")]
    BadName(String),
    /// The object stayed in use for too long.
    #[error("`{0}` is in use by others")]
    InUse(String),
    /// The schema of a database could not be brought up to date.
    #[error("migrating a schema failed: {0}")]
    Migration(String),
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

/// A name of `[a-z0-9_]`, at most 63 bytes (PostgreSQL cuts longer ones off), as a quoted identifier.
fn quoted(name: &str) -> Result<String, AdministrationError> {
    let plain = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain {
        Ok(format!("\"{name}\""))
    } else {
        Err(AdministrationError::BadName(name.to_owned()))
    }
}

/// A text that can stand between quotes as it is.
fn plain(text: &str) -> Result<&str, AdministrationError> {
    let is_plain =
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-' | b'_'));
    if is_plain { Ok(text) } else { Err(AdministrationError::BadName(text.to_owned())) }
}

/// A server, administered with the credentials in `options`.
#[derive(Clone)]
pub struct Server {
    options: PgConnectOptions,
    connect_timeout: Duration,
}

impl Server {
    /// The server that `options` lead to; the database they name does not matter.
    pub fn new(options: PgConnectOptions, connect_timeout: Duration) -> Self {
        // A statement of administration can hold a password's verifier, which belongs into no log.
        Self { options: options.disable_statement_logging(), connect_timeout }
    }

    /// The options for a database of this server, under the administration's own role.
    pub fn options_for(&self, database: &str) -> PgConnectOptions {
        self.options.clone().database(database)
    }

    /// The administration's own role.
    pub fn role(&self) -> &str {
        self.options.get_username()
    }

    /// A connection for administration. Closed when dropped; take it for a few statements and let go.
    pub async fn administer(&self) -> Result<Administration, AdministrationError> {
        self.connect(MAINTENANCE_DATABASE).await
    }

    /// As [`Server::administer`], inside one database: for its schema and grants.
    pub async fn connect(&self, database: &str) -> Result<Administration, AdministrationError> {
        let options = self.options_for(database).options(LIMITS).options(super::KEEPALIVES);
        let socket =
            tokio::time::timeout(self.connect_timeout, PgConnection::connect_with(&options))
                .await
                .map_err(|_| ConnectFailure::Timeout)?
                .map_err(failure::of_connect)?;
        Ok(Administration { socket })
    }
}

/// How many connections a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// `max_connections`.
    pub max_connections: u32,
    /// Of these, kept for superusers and for roles with a right to them; not for us.
    pub reserved: u32,
}

impl Capacity {
    /// The SQL expressions of both numbers. `reserved_connections` is there from PostgreSQL 16 on.
    pub const SQL: &str = "current_setting('max_connections')::int4, \
        current_setting('superuser_reserved_connections')::int4 + \
        coalesce(current_setting('reserved_connections', true)::int4, 0)";

    /// From a row that has both numbers, the first of them in this column.
    pub fn of_row(row: &PgRow, column: usize) -> Result<Self, sqlx::Error> {
        let number = |at| row.try_get(at).map(|n: i32| u32::try_from(n).unwrap_or(0));
        Ok(Self { max_connections: number(column)?, reserved: number(column + 1)? })
    }
}

/// An open connection for administration.
pub struct Administration {
    socket: PgConnection,
}

impl Administration {
    /// Closes the connection in order. Dropping it is enough; this spares the server a line in its log.
    pub async fn close(self) {
        let _ = self.socket.close().await;
    }

    /// Does the server answer on this connection, and soon?
    pub async fn is_alive(&mut self) -> bool {
        let answer = tokio::time::timeout(PING_TIMEOUT, self.socket.ping()).await;
        matches!(answer, Ok(Ok(())))
    }

    async fn run(&mut self, sql: String) -> Result<(), sqlx::Error> {
        self.socket.execute(sqlx::AssertSqlSafe(sql)).await.map(|_| ())
    }

    async fn exists(&mut self, sql: &'static str, name: &str) -> Result<bool, AdministrationError> {
        Ok(sqlx::query(sql).bind(name).fetch_optional(&mut self.socket).await?.is_some())
    }

    /// Runs statements that this program wrote (grants, preseed), as one batch.
    pub async fn batch(&mut self, sql: &str) -> Result<(), AdministrationError> {
        Ok(self.run(sql.to_owned()).await?)
    }

    /// Is there a database of this name?
    pub async fn database_exists(&mut self, name: &str) -> Result<bool, AdministrationError> {
        self.exists("SELECT 1 FROM pg_database WHERE datname = $1", name).await
    }

    /// Is there a role of this name?
    pub async fn role_exists(&mut self, name: &str) -> Result<bool, AdministrationError> {
        self.exists("SELECT 1 FROM pg_roles WHERE rolname = $1", name).await
    }

    /// Makes a role that groups rights and cannot log in.
    pub async fn create_group(&mut self, name: &str) -> Result<(), AdministrationError> {
        match self.run(format!("CREATE ROLE {} NOLOGIN", quoted(name)?)).await {
            Err(e) if sqlstate(&e).as_deref() == Some(DUPLICATE_OBJECT) => Ok(()),
            // Two at once: the loser meets the unique index of the catalogue instead of the polite check.
            Err(e) if e.as_database_error().is_some_and(|e| e.is_unique_violation()) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Makes a login role, or gives an existing one this password, this group and this mark.
    pub async fn create_login(&mut self, login: Login<'_>) -> Result<(), AdministrationError> {
        let (role, group) = (quoted(login.name)?, quoted(login.group)?);
        let verifier = scram::verifier(login.password, login.salt, scram::OF_A_RANDOM_PASSWORD);
        let mark = format!("COMMENT ON ROLE {role} IS '{}'", plain(login.mark)?);
        let created = self
            .run(format!("CREATE ROLE {role} LOGIN PASSWORD '{verifier}' IN ROLE {group}; {mark}"))
            .await;
        match created {
            Err(e) if sqlstate(&e).as_deref() == Some(DUPLICATE_OBJECT) => {
                let again = format!(
                    "ALTER ROLE {role} LOGIN PASSWORD '{verifier}'; GRANT {group} TO {role}; {mark}"
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

    /// Makes an empty database to which nobody but the administration may connect.
    pub async fn create_empty_database(&mut self, name: &str) -> Result<(), AdministrationError> {
        let database = quoted(name)?;
        self.create_database(
            name,
            format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8'"),
        )
        .await?;
        self.close_to_public(name).await
    }

    /// Copies a template, at most two copies at once on a server. An existing database is left as it is: the
    /// caller has to prove that it is the one it wants. Every role may connect to a copy until it is put aside or
    /// handed over.
    pub async fn copy_database(
        &mut self,
        template: &str,
        name: &str,
    ) -> Result<(), AdministrationError> {
        let sql = format!("CREATE DATABASE {} TEMPLATE {}", quoted(name)?, quoted(template)?);
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
                    || e.as_database_error().is_some_and(|e| e.is_unique_violation()) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Repeats a statement for some seconds while others use the object: a copy or a closing session soon ends.
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

    /// Grants of a database are not copied with its template: every one has to be closed by itself.
    pub async fn close_to_public(&mut self, name: &str) -> Result<(), AdministrationError> {
        Ok(self
            .run(format!("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC", quoted(name)?))
            .await?)
    }

    /// May every role connect to a database? PostgreSQL answers a REVOKE by somebody who is not the owner with a
    /// warning only, so that this has to be asked.
    pub async fn is_open_to_public(&mut self, name: &str) -> Result<bool, AdministrationError> {
        self.exists(
            "SELECT 1 FROM pg_database, aclexplode(COALESCE(datacl, acldefault('d', datdba))) AS granted
             WHERE datname = $1 AND granted.grantee = 0 AND granted.privilege_type = 'CONNECT'",
            name,
        )
        .await
    }

    /// Makes a database the one of a role, all at once: it gets its name, its mark, and lets this role connect and no
    /// other, whoever might before.
    pub async fn hand_over(&mut self, handover: &Handover<'_>) -> Result<(), AdministrationError> {
        let (name, role) = (quoted(handover.to)?, quoted(handover.role)?);
        let rename = match handover.from {
            Some(from) => format!("ALTER DATABASE {} RENAME TO {name};", quoted(from)?),
            None => String::new(),
        };
        let sql = format!(
            "{rename} REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC;
             ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true; GRANT CONNECT ON DATABASE {name} TO {role};
             COMMENT ON DATABASE {name} IS '{}'",
            plain(handover.mark)?
        );
        self.while_in_use(handover.from.unwrap_or(handover.to), sql).await
    }

    /// Closes a database to connections and marks it as ours, until it is handed over.
    pub async fn put_aside(&mut self, name: &str, mark: &str) -> Result<(), AdministrationError> {
        let (database, mark) = (quoted(name)?, plain(mark)?);
        Ok(self
            .run(format!(
                "REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC;
                 ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false; COMMENT ON DATABASE {database} IS '{mark}'"
            ))
            .await?)
    }

    /// Lets whoever has the right into a database.
    pub async fn open_database(&mut self, name: &str) -> Result<(), AdministrationError> {
        Ok(self
            .run(format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", quoted(name)?))
            .await?)
    }

    /// Lets nobody into a database any more, and ends the sessions in it.
    pub async fn close_database(&mut self, name: &str) -> Result<(), AdministrationError> {
        self.run(format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", quoted(name)?)).await?;
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
            .bind(name)
            .execute(&mut self.socket)
            .await?;
        Ok(())
    }

    /// Has the current database a table of this name in its public schema?
    pub async fn has_table(&mut self, name: &str) -> Result<bool, AdministrationError> {
        self.exists("SELECT 1 WHERE to_regclass('public.' || quote_ident($1)) IS NOT NULL", name)
            .await
    }

    /// Closes these databases and the ones that every server has: a tenant's role may connect to its own database and to
    /// no other. Says in the log what it could not close.
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

    /// Drops a database, ending the sessions in it.
    pub async fn drop_database(&mut self, name: &str) -> Result<(), AdministrationError> {
        Ok(self.run(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name)?)).await?)
    }

    /// Closes a database to connections and gives it its final name, in this order: what bears the name is whole.
    pub async fn finish_template(
        &mut self,
        from: &str,
        to: &str,
    ) -> Result<(), AdministrationError> {
        let (source, target) = (quoted(from)?, quoted(to)?);
        let rename = format!("ALTER DATABASE {source} RENAME TO {target}");
        self.run(format!("ALTER DATABASE {source} WITH ALLOW_CONNECTIONS false")).await?;
        self.while_in_use(from, rename).await
    }

    /// How many connections the server takes.
    pub async fn capacity(&mut self) -> Result<Capacity, AdministrationError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {}", Capacity::SQL));
        Ok(Capacity::of_row(&sqlx::query(sql).fetch_one(&mut self.socket).await?, 0)?)
    }

    /// The first column, as text, of a query that this program wrote.
    pub async fn texts(&mut self, sql: &'static str) -> Result<Vec<String>, AdministrationError> {
        let rows = sqlx::query(sql).fetch_all(&mut self.socket).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

/// A login role that is to be.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// Of the role.
    pub name: &'a str,
    /// From which it has its rights.
    pub group: &'a str,
    /// In clear, 24 random bytes in hexadecimal; only its verifier is sent.
    pub password: &'a str,
    /// 16 random bytes.
    pub salt: &'a [u8; 16],
    /// Whose it is: the comment on it.
    pub mark: &'a str,
}

/// A database that is to become a role's.
#[derive(Clone, Copy)]
pub struct Handover<'a> {
    /// What it is called until then, if otherwise.
    pub from: Option<&'a str>,
    /// What it is called from then on.
    pub to: &'a str,
    /// The only one that may connect.
    pub role: &'a str,
    /// Whose it is: the comment on it.
    pub mark: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("tenant_0190", Some("\"tenant_0190\""))]
    #[case("Tenant", None)]
    #[case("a\"; DROP DATABASE postgres; --", None)]
    #[case("", None)]
    #[case("a234567890123456789012345678901234567890123456789012345678901234", None)]
    fn only_plain_names_reach_ddl(#[case] name: &str, #[case] expected: Option<&str>) {
        assert_eq!(quoted(name).ok().as_deref(), expected);
    }
}
