//! The registry's own schema: made and brought up to date by command, checked at every start.

use registry_migrations::Migrator;
use sqlx::postgres::PgConnectOptions;

use super::error::RegistryError;
use super::scope::ACQUIRE_TIMEOUT;
use crate::postgres::administration::{AdminServer, ServerLock};
use crate::postgres::migrating::{self, SchemaStatus};

/// Makes the registry database if there is none, closes it to other roles, and applies what is pending.
/// Returns the names of the migrations applied. Two at once: the second waits, and finds nothing to do.
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

/// How the registry's schema stands. A registry that does not exist has everything still to apply.
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
