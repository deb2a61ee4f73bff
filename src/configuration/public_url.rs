//! The URL under which clients reach the gateway.

use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;
use serde::Deserialize;

/// Scheme, host and optional port, such as `https://app.example.org`. `http` is allowed only for
/// this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(Url);

/// The text is not a URL under which clients can reach the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an https:// URL of a host alone, such as https://app.example.org (http:// for this machine alone)"
)]
pub struct NoPublicUrl;

impl PublicUrl {
    /// True if clients use TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The URL of a path below this URL.
    pub fn at(&self, path: &str) -> String {
        format!(
            "{}/{path}",
            self.0.as_str().trim_end_matches('/'),
            path = path.trim_start_matches('/')
        )
    }
}

impl FromStr for PublicUrl {
    type Err = NoPublicUrl;

    fn from_str(text: &str) -> Result<Self, NoPublicUrl> {
        let url = Url::parse(text.trim()).map_err(|_| NoPublicUrl)?;
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if is_bare && is_safe(&url) { Ok(Self(url)) } else { Err(NoPublicUrl) }
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = NoPublicUrl;

    fn try_from(text: String) -> Result<Self, NoPublicUrl> {
        text.parse()
    }
}

/// True if no other party can read the traffic: `https`, or this machine.
pub(super) fn is_safe(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host_str().is_some(),
        "http" => is_this_machine(url),
        _ => false,
    }
}

/// True if the URL names this machine: `localhost` or a loopback address.
pub fn is_this_machine(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://app.example.org", Some(true))]
    #[case("https://app.example.org:8443/", Some(true))]
    #[case("http://127.0.0.1:8080", Some(false))]
    #[case("http://[::1]:8080", Some(false))]
    #[case("http://localhost", Some(false))]
    #[case("http://app.example.org", None)]
    #[case("https://app.example.org/path", None)]
    #[case("https://app.example.org?query", None)]
    #[case("https://user@app.example.org", None)]
    #[case("app.example.org", None)]
    #[case("ftp://app.example.org", None)]
    #[case("", None)]
    fn only_urls_of_a_host_are_public(#[case] text: &str, #[case] is_https: Option<bool>) {
        assert_eq!(text.parse::<PublicUrl>().ok().map(|url| url.is_https()), is_https);
    }

    #[test]
    fn paths_are_put_behind_it() {
        let url: PublicUrl = "https://app.example.org:8443/".parse().unwrap();
        assert_eq!(url.at("/reset?token=a"), "https://app.example.org:8443/reset?token=a");
    }
}
