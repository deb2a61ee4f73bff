//! The way to a server for those who make and drop roles and databases on it.

use super::error::RouterError;
use super::router::TenantRouter;
use crate::postgres::administration::AdminServer;
use crate::registry::RegistryError;
use crate::registry::tenants::database_servers::DatabaseServer;

impl TenantRouter {
    /// Sessions that a tenant's role may have on its server at once: what keeps a stolen password from taking all of the
    /// server's connections. Each replica has a pool, and one more while it retires an old one; a release starts a replica
    /// beside those that it replaces.
    pub fn role_connection_limit(&self) -> u32 {
        let settings = &self.inner.settings;
        let pools = settings.replicas.saturating_mul(2).saturating_add(1);
        settings.max_connections_per_tenant.saturating_mul(pools)
    }

    /// The administration of a server: the registry's own as `registry.url` says, another one as its row does, under
    /// the user that was given when it was added. Nothing is connected yet.
    pub fn administration(&self, server: &DatabaseServer) -> Result<AdminServer, RouterError> {
        let inner = &self.inner;
        let password =
            server.administration_password(inner.registry.sealer()).map_err(RegistryError::from)?;
        inner
            .addresses
            .administration(server, password.as_ref(), inner.settings.connect_timeout)
            .map_err(RouterError::Unavailable)
    }
}
