//! A PostgreSQL server with TLS, and the authorities and certificates for it.

use local_cluster::LocalCluster;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use sqlx::Connection;

use super::cluster::{TestCluster, own_cluster};
use super::eventually;

/// A certificate and its key, in PEM.
pub struct Identity {
    certificate: String,
    key: String,
}

/// A private authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these host names and addresses.
    pub fn certify(&self, names: &[&str]) -> Identity {
        self.sign(names, |_| {})
    }

    /// One that was good until the end of 2020.
    pub fn certify_until_2020(&self, names: &[&str]) -> Identity {
        self.sign(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 12, 31);
        })
    }

    fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

/// A server of a test's own that can speak TLS, on 127.0.0.1. It takes plain connections too, until told not to.
pub struct TlsServer {
    server: LocalCluster,
    pub cluster: TestCluster,
}

impl TlsServer {
    /// With TLS on, showing this certificate.
    pub async fn start(identity: &Identity) -> Self {
        let server = own_cluster().await;
        let this = Self { cluster: TestCluster::of(&server), server };
        this.cluster.execute("postgres", "ALTER SYSTEM SET log_connections = on").await;
        this.show(identity).await;
        this.set_tls(true).await;
        this
    }

    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Shows another certificate to whoever connects from now on. The server writes the files itself, so that they
    /// belong to its account.
    pub async fn show(&self, identity: &Identity) {
        for (file, pem) in [("server.crt", &identity.certificate), ("server.key", &identity.key)] {
            self.write_file(file, pem).await;
        }
        self.reload().await;
    }

    /// Switches TLS on or off for whoever connects from now on.
    pub async fn set_tls(&self, on: bool) {
        self.cluster.execute("postgres", &format!("ALTER SYSTEM SET ssl = {on}")).await;
        self.reload().await;
        let url = format!("{}?sslmode=require", self.cluster.bare_url("postgres"));
        eventually("the server has noticed", async || {
            sqlx::PgConnection::connect(&url).await.is_ok() == on
        })
        .await;
    }

    /// From now on a connection without TLS is turned away.
    pub async fn insist_on_tls(&self) {
        self.write_file("pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256").await;
        self.reload().await;
        let url = format!("{}?sslmode=disable", self.cluster.bare_url("postgres"));
        eventually("the server has noticed", async || {
            sqlx::PgConnection::connect(&url).await.is_err()
        })
        .await;
    }

    /// What the server has logged, connections included.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.server.data_dir().join("postgresql.log")).unwrap()
    }

    async fn write_file(&self, name: &str, lines: &str) {
        let sql = format!(
            "COPY (SELECT unnest(string_to_array('{}', E'\\n'))) TO PROGRAM 'umask 077; cat > {name}'",
            lines.trim_end()
        );
        self.cluster.execute("postgres", &sql).await;
    }

    async fn reload(&self) {
        self.cluster.execute("postgres", "SELECT pg_reload_conf()").await;
    }
}
