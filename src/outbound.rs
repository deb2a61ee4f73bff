//! Outbound HTTP calls. All clients are built here, with ring as the only cryptography provider.

use std::sync::Once;
use std::time::Duration;

/// The base configuration of every client. It sets no time limit.
pub fn builder() -> reqwest::ClientBuilder {
    static PROVIDER: Once = Once::new();
    // If another caller has installed a provider before, it is the same one.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    reqwest::Client::builder().user_agent(concat!("narthex/", env!("CARGO_PKG_VERSION")))
}

/// A client for external services. It follows no redirects and aborts a call after `timeout`.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    builder().timeout(timeout).redirect(reqwest::redirect::Policy::none()).build()
}
