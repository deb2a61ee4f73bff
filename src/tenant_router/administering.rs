//! Administrative access to a database server, for code that creates and drops roles and databases.

use super::error::RouterError;
use super::router::TenantRouter;
use crate::postgres::administration::AdminServer;
use crate::registry::RegistryError;
use crate::registry::tenants::database_servers::DatabaseServer;

impl TenantRouter {
    /// Sessions that a tenant's role may have on its server at once. The limit keeps a stolen
    /// password from taking all of the server's connections. Each replica has a pool, and a second
    /// one while it retires an old pool. During a release, new replicas run beside the replicas
    /// that they replace.
    pub fn role_connection_limit(&self) -> u32 {
        let settings = &self.inner.settings;
        let pools = settings.replicas.saturating_mul(2).saturating_add(1);
        settings.max_connections_per_tenant.saturating_mul(pools)
    }

    /// The administration of a server. The registry's own server is reached with `registry.url`.
    /// Another server is reached with the address of its row and the user that was given when it
    /// was added. This call opens no connection.
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
