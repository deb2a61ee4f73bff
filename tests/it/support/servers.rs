//! Further database servers for an application.

use narthex::identifiers::{ServerId, new_id};
use narthex::registry::tenants::database_servers::{self, DatabaseServer, State, TlsMode};
use sqlx::ConnectOptions;

use super::{TestApp, TestCluster};
use narthex::sealing::aad;

impl TestApp {
    /// The row of a cluster, with the superuser's credentials and more room than the registry's own server has.
    pub fn server_row(&self, cluster: &TestCluster) -> DatabaseServer {
        let (id, options) = (ServerId(new_id()), cluster.options("postgres"));
        let url = options.to_url_lossy();
        let aad = aad::server_password(id);
        let password = url.password().unwrap().as_bytes();
        DatabaseServer {
            id,
            name: "second".to_owned(),
            host: Some(options.get_host().to_owned()),
            port: Some(options.get_port().into()),
            tls_mode: Some(TlsMode::Disable),
            tls_authority: None,
            state: State::Active,
            administration_user: Some(options.get_username().to_owned()),
            sealed_administration_password: Some(
                self.registry.sealer().seal(&aad, password).unwrap(),
            ),
            max_tenants: 10_000,
            system_identifier: None,
            created_at: self.clock.now(),
        }
    }

    /// Registers a cluster: new tenants go there.
    pub async fn add_server(&self, cluster: &TestCluster) -> DatabaseServer {
        let row = self.server_row(cluster);
        let db = self.registry.connect().await.unwrap();
        database_servers::add(&db, &row).await.unwrap().unwrap();
        row
    }
}
