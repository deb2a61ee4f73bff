//! Schema migrations, over a connection of their own. sea-orm-migration needs a
//! `DatabaseConnection`, which is always a pool. This pool has a single connection and ends with
//! the migration.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use sea_orm_migration::{MigratorTrait, SchemaManager};
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};

use super::failure;

/// The longest time for opening the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The table in which sea-orm-migration records the applied migrations.
const BOOKKEEPING_TABLE: &str = "seaql_migrations";
/// SQLSTATE 3D000, `invalid_catalog_name`.
const NO_SUCH_DATABASE: &str = "3D000";

/// The state of a schema, compared with the migrations of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaStatus {
    /// Names of the migrations that have been applied, oldest first.
    pub applied: Vec<String>,
    /// Names of the migrations that are still to apply, oldest first.
    pub pending: Vec<String>,
}

async fn connect(options: PgConnectOptions) -> Result<DatabaseConnection, DbErr> {
    let failed = |e: sqlx::Error| DbErr::Conn(sea_orm::RuntimeErr::SqlxError(e.into()));
    // The pool would try until its timeout and then hide the reason. A plain connection fails at
    // once with the reason.
    let attempt = PgConnection::connect_with(&options);
    match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(connected) => drop(connected.map_err(failed)?),
        Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
    }
    let pool = PgPoolOptions::new()
        .min_connections(1)
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(failed)?;
    Ok(sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// Applies the pending migrations and returns their names.
pub async fn migrate<M: MigratorTrait>(options: PgConnectOptions) -> Result<Vec<String>, DbErr> {
    let database = connect(options).await?;
    let pending = names_of(M::get_pending_migrations(&database).await?);
    let migrated = M::up(&database, None).await;
    database.close().await?;
    migrated.map(|()| pending)
}

/// Compares a schema with the migrations and changes nothing. For a database that does not exist or
/// was never migrated, all of them are pending.
pub async fn status<M: MigratorTrait>(options: PgConnectOptions) -> Result<SchemaStatus, DbErr> {
    let untouched = || SchemaStatus { applied: Vec::new(), pending: names::<M>() };
    let database = match connect(options).await {
        Err(e) if failure::sqlstate(&e).as_deref() == Some(NO_SUCH_DATABASE) => {
            return Ok(untouched());
        }
        connected => connected?,
    };
    // Asking sea-orm-migration would create the table.
    if !SchemaManager::new(&database).has_table(BOOKKEEPING_TABLE).await? {
        database.close().await?;
        return Ok(untouched());
    }
    let applied = M::get_applied_migrations(&database).await.map(names_of);
    let pending = M::get_pending_migrations(&database).await.map(names_of);
    database.close().await?;
    Ok(SchemaStatus { applied: applied?, pending: pending? })
}

/// The name of the newest migration of this program, which is the current schema version.
pub fn newest<M: MigratorTrait>() -> String {
    names::<M>().pop().unwrap_or_default()
}

fn names<M: MigratorTrait>() -> Vec<String> {
    M::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

fn names_of(migrations: Vec<sea_orm_migration::Migration>) -> Vec<String> {
    migrations.iter().map(|migration| migration.name().to_owned()).collect()
}
