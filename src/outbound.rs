//! Calls over HTTP: one way of making them, with ring as the only cryptography.

use std::sync::Once;
use std::time::Duration;

/// What every client begins with. It has no time limit yet.
pub fn builder() -> reqwest::ClientBuilder {
    static PROVIDER: Once = Once::new();
    // Where another has installed it before, it is the same one.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    reqwest::Client::builder().user_agent(concat!("narthex/", env!("CARGO_PKG_VERSION")))
}

/// A client for the services of others: it follows no redirects, and gives up on a whole call after `timeout`.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    builder().timeout(timeout).redirect(reqwest::redirect::Policy::none()).build()
}
