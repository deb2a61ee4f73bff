//! The PostgreSQL servers that tenants live on.

use sea_orm::EntityTrait;
use uuid::Uuid;

use super::entities::database_servers::Entity;
pub use super::entities::database_servers::{Model as DatabaseServer, TlsMode};
use super::{OnRegistry, RegistryError};

impl DatabaseServer {
    /// Do connections by both rows lead to the same place in the same way?
    pub fn leads_where(&self, other: &Self) -> bool {
        let way = |row: &Self| (row.id, row.port, row.tls_mode);
        way(self) == way(other)
            && self.host == other.host
            && self.tls_authority == other.tls_authority
    }
}

/// One server.
pub async fn find(db: &impl OnRegistry, id: Uuid) -> Result<Option<DatabaseServer>, RegistryError> {
    Ok(Entity::find_by_id(id).one(db).await?)
}
