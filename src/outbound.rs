//! Calls to the services of others over HTTP: one way of making them, with ring as the only cryptography.

use std::sync::Once;
use std::time::Duration;

/// A client that follows no redirects and gives up on a whole call after `timeout`.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    static PROVIDER: Once = Once::new();
    // Another installation of the same would be as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("narthex/", env!("CARGO_PKG_VERSION")))
        .build()
}
