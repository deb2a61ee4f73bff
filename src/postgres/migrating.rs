//! Schema migrations, over a connection of their own. sea-orm-migration needs a `DatabaseConnection`, which is a
//! pool by nature; this one holds a single connection and ends with the migration.

use sea_orm::{DatabaseConnection, DbErr};
use sea_orm_migration::MigratorTrait;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// How a schema stands against the migrations this program carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaStatus {
    /// Names of the migrations that have been applied, oldest first.
    pub applied: Vec<String>,
    /// Names of those still to apply, oldest first.
    pub pending: Vec<String>,
}

async fn connect(options: PgConnectOptions) -> Result<DatabaseConnection, DbErr> {
    let pool = PgPoolOptions::new()
        .min_connections(1)
        .max_connections(1)
        .connect_with(options)
        .await
        .map_err(|e| DbErr::Conn(sea_orm::RuntimeErr::SqlxError(e.into())))?;
    Ok(sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// Applies what is pending and returns the names of what was applied.
pub async fn migrate<M: MigratorTrait>(options: PgConnectOptions) -> Result<Vec<String>, DbErr> {
    let database = connect(options).await?;
    let pending = names_of(M::get_pending_migrations(&database).await?);
    let migrated = M::up(&database, None).await;
    database.close().await?;
    migrated.map(|()| pending)
}

/// Compares a schema with the migrations, changing nothing but the bookkeeping table.
pub async fn status<M: MigratorTrait>(options: PgConnectOptions) -> Result<SchemaStatus, DbErr> {
    let database = connect(options).await?;
    let applied = M::get_applied_migrations(&database).await.map(names_of);
    let pending = M::get_pending_migrations(&database).await.map(names_of);
    database.close().await?;
    Ok(SchemaStatus { applied: applied?, pending: pending? })
}

/// The name of the newest migration this program carries: the version of a schema that is current.
pub fn newest<M: MigratorTrait>() -> String {
    names::<M>().pop().unwrap_or_default()
}

/// The names of all migrations this program carries, oldest first.
pub fn names<M: MigratorTrait>() -> Vec<String> {
    M::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

fn names_of(migrations: Vec<sea_orm_migration::Migration>) -> Vec<String> {
    migrations.iter().map(|migration| migration.name().to_owned()).collect()
}
