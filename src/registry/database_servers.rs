//! The PostgreSQL servers that tenants live on.

use sea_orm::EntityTrait;
use uuid::Uuid;

use super::entities::database_servers::Entity;
pub use super::entities::database_servers::{Model as DatabaseServer, TlsMode};
use super::{OnRegistry, RegistryError};

/// One server.
pub async fn find(db: &impl OnRegistry, id: Uuid) -> Result<Option<DatabaseServer>, RegistryError> {
    Ok(Entity::find_by_id(id).one(db).await?)
}
