//! From a server's row in the registry to the options of a connection. A row that cannot be used is
//! an error: there is no fallback to a weaker connection than the row asks for.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::identifiers::ServerId;
use crate::postgres::ConnectFailure;
use crate::postgres::administration::AdminServer;
use crate::postgres::transport::is_this_machine;
use crate::registry::tenants::database_servers::{DatabaseServer, TlsMode};

/// Why a row of `database_servers` does not describe a reachable server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    #[error("`{0}` is neither a host name nor an address")]
    Host(String),
    #[error("{0:?} is no port")]
    Port(Option<i32>),
    #[error("it has no TLS mode")]
    NoTlsMode,
    #[error("verify-ca needs a tls_authority: public authorities sign for anybody")]
    NoAuthority,
    #[error("its tls_authority is not a certificate in PEM: {0}")]
    Authority(String),
    #[error("it has no credentials for administration; `narthex servers add` takes them")]
    NoCredentials,
    #[error("PGOPTIONS is set in the environment of this process and would reach its connections")]
    ForeignOptions,
}

impl AddressError {
    pub(super) fn of(self, server: &DatabaseServer) -> ConnectFailure {
        ConnectFailure::BadAddress(format!("database server `{}`: {self}", server.name))
    }
}

/// Makes the options of connections to tenants' servers.
pub(super) struct Addresses {
    /// The server that holds the registry, reached with `registry.url`.
    own: AdminServer,
    /// Servers for which the warning about unprotected connections was already logged.
    warned_of: Mutex<HashSet<ServerId>>,
}

impl Addresses {
    pub(super) fn new(own: AdminServer) -> Self {
        Self { own, warned_of: Mutex::default() }
    }

    /// Host, port and TLS for a database of `server`, or of the registry's own server if it is
    /// `None`. The caller sets role and password.
    pub(super) fn options_for(
        &self,
        server: Option<&DatabaseServer>,
        database: &str,
    ) -> Result<PgConnectOptions, ConnectFailure> {
        let Some((server, host)) = server.and_then(|row| Some((row, row.host.as_deref()?))) else {
            return Ok(self.own.options_for(database));
        };
        let base = PgConnectOptions::new_without_pgpass();
        let options = remote(base, server, host).map_err(|error| error.of(server))?;
        if server.tls_mode == Some(TlsMode::Disable) && !is_this_machine(host) {
            self.warn_once(server, host);
        }
        Ok(options.database(database))
    }

    /// The user that administers the server, and the address for that.
    pub(super) fn administration(
        &self,
        server: &DatabaseServer,
        password: Option<&SecretString>,
        connect_timeout: Duration,
    ) -> Result<AdminServer, ConnectFailure> {
        let Some(host) = &server.host else { return Ok(self.own.clone()) };
        let (Some(user), Some(password)) = (&server.administration_user, password) else {
            return Err(AddressError::NoCredentials.of(server));
        };
        let base = PgConnectOptions::new_without_pgpass();
        let options = remote(base, server, host)
            .map_err(|error| error.of(server))?
            .username(user)
            .password(password.expose_secret())
            .application_name("narthex");
        Ok(AdminServer::new(options, connect_timeout))
    }

    fn warn_once(&self, server: &DatabaseServer, host: &str) {
        let mut warned_of = self.warned_of.lock();
        if warned_of.insert(server.id) {
            tracing::warn!(
                server = server.name,
                host,
                "tenants' data goes to this database server in plain text; \
                 set its tls_mode to `verify-full` and its tls_authority"
            );
        }
    }
}

/// `base` comes from the environment (PGHOST, PGSSLMODE, PGSSLROOTCERT, ...), because the driver
/// has no other start. So every option that selects or protects a connection is set here, even if
/// it is set to nothing.
fn remote(
    base: PgConnectOptions,
    server: &DatabaseServer,
    host: &str,
) -> Result<PgConnectOptions, AddressError> {
    // The driver can add options, but not remove them.
    if base.get_options().is_some() {
        return Err(AddressError::ForeignOptions);
    }
    if ServerName::try_from(host).is_err() {
        return Err(AddressError::Host(host.to_owned()));
    }
    let port = server.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let authority = server.tls_authority.as_deref();
    let mode = match server.tls_mode.ok_or(AddressError::NoTlsMode)? {
        TlsMode::Disable => PgSslMode::Disable,
        TlsMode::Require => PgSslMode::Require,
        TlsMode::VerifyCa if authority.is_none() => return Err(AddressError::NoAuthority),
        TlsMode::VerifyCa => PgSslMode::VerifyCa,
        TlsMode::VerifyFull => PgSslMode::VerifyFull,
    };
    if let Some(pem) = authority {
        check_authority(pem)?;
    }
    Ok(base
        .host(host)
        .port(port.ok_or(AddressError::Port(server.port))?)
        .ssl_mode(mode)
        // An empty value means no authority beside the public ones, whatever PGSSLROOTCERT says.
        .ssl_root_cert_from_pem(authority.unwrap_or_default().as_bytes().to_vec())
        .disable_statement_logging())
}

/// The driver reads a text without any certificate as no authority at all.
fn check_authority(pem: &str) -> Result<(), AddressError> {
    let unusable = |reason: String| AddressError::Authority(reason);
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|e| unusable(e.to_string()))?;
        store.add(certificate).map_err(|e| unusable(e.to_string()))?;
    }
    if store.is_empty() {
        return Err(unusable("it holds none".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
