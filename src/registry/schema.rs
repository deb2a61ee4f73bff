//! The registry's schema. A command creates and migrates it, and every start checks it.

use registry_migrations::Migrator;
use sqlx::postgres::PgConnectOptions;

use super::error::RegistryError;
use super::scope::ACQUIRE_TIMEOUT;
use crate::postgres::administration::{AdminServer, ServerLock};
use crate::postgres::migrating::{self, SchemaStatus};

/// Creates the registry database if there is none, closes it to other roles, and applies pending
/// migrations. Returns the names of the applied migrations. Of two calls at once, the second waits
/// and finds nothing to do.
pub async fn migrate(options: PgConnectOptions) -> Result<Vec<String>, RegistryError> {
    let database = options.get_database().unwrap_or_default().to_owned();
    let server = AdminServer::new(options.clone(), ACQUIRE_TIMEOUT);
    let mut administration = server.administer().await?;
    administration.lock(ServerLock::RegistryMigration).await?;
    if !administration.database_exists(&database).await? {
        administration.create_empty_database(&database).await?;
    }
    administration.close_to_tenants(&[&database]).await?;
    let applied = migrating::migrate::<Migrator>(options).await?;
    administration.close().await;
    Ok(applied)
}

/// The applied and the pending migrations. For a registry that does not exist, all are pending.
pub async fn status(options: PgConnectOptions) -> Result<SchemaStatus, RegistryError> {
    Ok(migrating::status::<Migrator>(options).await?)
}

pub(super) async fn require_current(options: PgConnectOptions) -> Result<(), RegistryError> {
    let status = status(options).await?;
    if status.pending.is_empty() {
        Ok(())
    } else {
        Err(RegistryError::SchemaBehind(status.pending))
    }
}
