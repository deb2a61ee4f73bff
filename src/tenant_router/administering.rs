//! The way to a server for those who make and drop roles and databases on it.

use super::{RouterError, TenantRouter};
use crate::postgres::administration::Server;
use crate::registry::RegistryError;
use crate::registry::database_servers::DatabaseServer;

impl TenantRouter {
    /// The administration of a server: the registry's own as `registry.url` says, another one as its row does, under
    /// the user that was given when it was added. Nothing is connected yet.
    pub fn administration(&self, server: &DatabaseServer) -> Result<Server, RouterError> {
        let inner = &self.inner;
        let password =
            server.administration_password(inner.registry.sealer()).map_err(RegistryError::from)?;
        inner
            .addresses
            .administration(server, password.as_ref(), inner.settings.connect_timeout)
            .map_err(RouterError::Unavailable)
    }
}
