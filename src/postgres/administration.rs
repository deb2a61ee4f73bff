//! Administration of one server: roles and databases. Every operation is idempotent: repeating it,
//! or undoing what was never done, changes nothing. Names are checked to be plain identifiers
//! before they reach DDL.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::failure::{self, ConnectFailure};

mod databases;
mod inspection;
mod roles;

pub use databases::DatabaseAssignment;
pub use inspection::{Capabilities, DatabaseSeen, ServerContents, Unsupported};
pub use roles::Login;

/// The database that every server has, for statements that concern the whole server.
const MAINTENANCE_DATABASE: &str = "postgres";
/// Limits of each administrative statement, and of its wait for a lock.
const LIMITS: [(&str, &str); 2] = [("statement_timeout", "120s"), ("lock_timeout", "60s")];
/// A connection that does not answer a ping within this time is not used.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Why an administrative operation failed.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    /// The connection to the server could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    /// The server refused the statement, or the connection broke during it.
    #[error("the database server refused: {0}")]
    Statement(#[from] sqlx::Error),
    /// The name or text is not safe in DDL.
    #[error("`{0}` is not a name that we make")]
    BadName(String),
    /// The object stayed in use for too long.
    #[error("`{0}` is in use by others")]
    InUse(String),
    /// The schema of a database could not be brought up to date.
    #[error("migrating a schema failed: {0}")]
    Migration(sea_orm::DbErr),
}

impl AdministrationError {
    /// True if the failure concerns only this object, so that another object may work. The
    /// connection is intact then.
    pub fn is_of_object(&self) -> bool {
        match self {
            Self::InUse(_) => true,
            Self::Statement(error) => failure::leaves_connection_certain(error),
            Self::Connect(_) | Self::BadName(_) | Self::Migration(_) => false,
        }
    }
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

/// A quoted identifier from a name of `[a-z0-9_]` with at most 63 bytes (PostgreSQL truncates
/// longer names).
fn quoted(name: &str) -> Result<String, AdministrationError> {
    let plain = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain {
        Ok(format!("\"{name}\""))
    } else {
        Err(AdministrationError::BadName(name.to_owned()))
    }
}

/// The text, if it can stand between single quotes unchanged.
fn plain(text: &str) -> Result<&str, AdministrationError> {
    let is_plain =
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-' | b'_'));
    if is_plain { Ok(text) } else { Err(AdministrationError::BadName(text.to_owned())) }
}

/// A server that is administered with the credentials in `options`.
#[derive(Clone)]
pub struct AdminServer {
    options: PgConnectOptions,
    connect_timeout: Duration,
}

impl AdminServer {
    /// The server that `options` lead to. Their database name is ignored.
    pub fn new(options: PgConnectOptions, connect_timeout: Duration) -> Self {
        // An administrative statement can contain a password's verifier, which must not be logged.
        Self { options: options.disable_statement_logging(), connect_timeout }
    }

    /// The options for a database of this server, with the administration's role.
    pub fn options_for(&self, database: &str) -> PgConnectOptions {
        self.options.clone().database(database)
    }

    /// The name of the administration's role.
    pub fn role(&self) -> &str {
        self.options.get_username()
    }

    /// Opens a connection for administration to the maintenance database. It is closed when it is
    /// dropped, and should be held for a few statements only.
    pub async fn administer(&self) -> Result<Administration, AdministrationError> {
        self.connect(MAINTENANCE_DATABASE).await
    }

    /// As [`AdminServer::administer`], inside one database: for its schema and grants.
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

/// The number of connections that a server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The server's `max_connections`.
    pub max_connections: u32,
    /// Connections among them that are reserved for superusers and for roles with a right to them.
    /// This program cannot use them.
    pub reserved: u32,
}

impl Capacity {
    /// The SQL expressions of both numbers. `reserved_connections` exists from PostgreSQL 16 on.
    pub const SQL: &str = "current_setting('max_connections')::int4, \
        current_setting('superuser_reserved_connections')::int4 + \
        coalesce(current_setting('reserved_connections', true)::int4, 0)";

    /// Reads a row that has both numbers, the first of them in `column`.
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
    /// Closes the connection in order. Dropping it is enough, but causes a line in the server's
    /// log.
    pub async fn close(self) {
        let _ = self.socket.close().await;
    }

    /// True if the server answers a ping on this connection within a second.
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

    /// Runs statements that this program wrote (grants, seed), as one batch.
    pub async fn batch(&mut self, sql: &str) -> Result<(), AdministrationError> {
        Ok(self.run(sql.to_owned()).await?)
    }

    /// True if the server has a database of this name.
    pub async fn database_exists(&mut self, name: &str) -> Result<bool, AdministrationError> {
        self.exists("SELECT 1 FROM pg_database WHERE datname = $1", name).await
    }

    /// True if the server has a role of this name.
    pub async fn role_exists(&mut self, name: &str) -> Result<bool, AdministrationError> {
        self.exists("SELECT 1 FROM pg_roles WHERE rolname = $1", name).await
    }

    /// True if the current database has a table of this name in its public schema.
    pub async fn has_table(&mut self, name: &str) -> Result<bool, AdministrationError> {
        self.exists("SELECT 1 WHERE to_regclass('public.' || quote_ident($1)) IS NOT NULL", name)
            .await
    }

    /// Asks the server how many connections it accepts.
    pub async fn capacity(&mut self) -> Result<Capacity, AdministrationError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {}", Capacity::SQL));
        Ok(Capacity::of_row(&sqlx::query(sql).fetch_one(&mut self.socket).await?, 0)?)
    }

    /// The first column, as text, of a query that this program wrote.
    pub async fn texts(&mut self, sql: &str) -> Result<Vec<String>, AdministrationError> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let rows = sqlx::query(sql).fetch_all(&mut self.socket).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

/// The first key of a server's advisory locks. The second key says which lock it is.
const LOCK_SPACE: i32 = 0x6e61_7274;
/// Template copies at the same time per server, over all replicas. More were slower.
const COPY_SLOTS: i32 = 2;

/// The locks of a server that are held for longer than a copy.
#[derive(Clone, Copy, Debug)]
pub enum ServerLock {
    /// Creation of the template database.
    Template = 100,
    /// Migration of the registry.
    RegistryMigration = 101,
    /// Creation of warm databases.
    Spares = 102,
    /// The final drop of a tenant's database.
    Drop = 103,
    /// Comparison of all servers with the registry.
    Reconcile = 104,
}

impl Administration {
    /// Takes a lock that all replicas share, until [`Administration::unlock`] or the end of this
    /// connection.
    pub async fn lock(&mut self, which: ServerLock) -> Result<(), AdministrationError> {
        sqlx::query("SELECT pg_advisory_lock($1, $2)")
            .bind(LOCK_SPACE)
            .bind(which as i32)
            .execute(&mut self.socket)
            .await?;
        Ok(())
    }

    /// As [`Administration::lock`], without waiting: `false` if another connection has the lock.
    pub async fn try_lock(&mut self, which: ServerLock) -> Result<bool, AdministrationError> {
        self.try_lock_number(which as i32).await
    }

    async fn try_lock_number(&mut self, number: i32) -> Result<bool, AdministrationError> {
        let row = sqlx::query("SELECT pg_try_advisory_lock($1, $2)")
            .bind(LOCK_SPACE)
            .bind(number)
            .fetch_one(&mut self.socket)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Takes the lock of one tenant, until [`Administration::unlock_all`] or the end of this
    /// connection. The server releases the lock only after the connection's last statement has
    /// ended, even if the process that sent it died long before.
    pub async fn lock_for(&mut self, tenant: uuid::Uuid) -> Result<(), AdministrationError> {
        // The last half of the id is random.
        let key = i64::from_be_bytes(tenant.as_u64_pair().1.to_be_bytes());
        sqlx::query("SELECT pg_advisory_lock($1)").bind(key).execute(&mut self.socket).await?;
        Ok(())
    }

    pub(super) async fn take_copy_slot(&mut self) -> Result<i32, AdministrationError> {
        for slot in 0..COPY_SLOTS {
            if self.try_lock_number(slot).await? {
                return Ok(slot);
            }
        }
        // Both are taken: wait for one of them, spread by our process number on the server.
        let row = sqlx::query("SELECT pg_backend_pid() % $1")
            .bind(COPY_SLOTS)
            .fetch_one(&mut self.socket)
            .await?;
        let slot: i32 = row.try_get(0)?;
        sqlx::query("SELECT pg_advisory_lock($1, $2)")
            .bind(LOCK_SPACE)
            .bind(slot)
            .execute(&mut self.socket)
            .await?;
        Ok(slot)
    }

    /// Releases every lock of this connection.
    pub async fn unlock_all(&mut self) -> Result<(), AdministrationError> {
        sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut self.socket).await?;
        Ok(())
    }

    /// Releases one lock.
    pub async fn unlock(&mut self, which: ServerLock) -> Result<(), AdministrationError> {
        self.unlock_number(which as i32).await
    }

    pub(super) async fn unlock_number(&mut self, number: i32) -> Result<(), AdministrationError> {
        sqlx::query("SELECT pg_advisory_unlock($1, $2)")
            .bind(LOCK_SPACE)
            .bind(number)
            .execute(&mut self.socket)
            .await?;
        Ok(())
    }
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
