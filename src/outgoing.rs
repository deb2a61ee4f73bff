//! Calls to others over HTTP: TLS by ring, and no client that waits for ever.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};

/// How long anybody may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that believes the authorities that browsers believe, asks whom it is told to ask and nobody else (no
/// proxies of the environment), and gives up after `limit`.
pub fn client(limit: Duration) -> reqwest::ClientBuilder {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(limit))
        .timeout(limit)
        .no_proxy();
    // The safe versions are those of the provider that stands in the line above, so that this has no other way.
    match ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
        Ok(tls) => builder
            .tls_backend_preconfigured(tls.with_root_certificates(roots).with_no_client_auth()),
        Err(_) => builder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_be_made_without_anything_installed_in_the_process() {
        assert!(client(Duration::from_secs(1)).build().is_ok());
    }
}
