//! Sessions of browsers: the same two tokens, as cookies, and the proof that a request with such a
//! cookie comes from our own pages.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::{COOKIE, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use reqwest::Url;

use super::client::is_https;
use super::headers::{LONGEST_TOKEN, only};
use super::host::called_authority;
use crate::accounts::TokenPair;
use crate::http::problem::Problem;
use crate::http::{Code, Gateway};

/// The token that a cookie holds.
#[derive(Clone, Copy)]
enum Kind {
    Access,
    Refresh,
}

impl Kind {
    /// The cookie's name. A browser accepts a name with `__Host-` only over TLS, and never from
    /// another host (RFC 6265bis, section 4.1.3.2).
    fn name(self, is_https: bool) -> &'static str {
        match (self, is_https) {
            (Self::Access, true) => "__Host-narthex_access",
            (Self::Access, false) => "narthex_access",
            (Self::Refresh, true) => "__Host-narthex_refresh",
            (Self::Refresh, false) => "narthex_refresh",
        }
    }
}

/// The cookies for a client that speaks TLS, or plain HTTP.
#[derive(Clone, Copy)]
pub(in crate::http) struct Cookies {
    is_https: bool,
}

impl FromRequestParts<Gateway> for Cookies {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Infallible> {
        Ok(Self { is_https: is_https(parts, gateway) })
    }
}

impl Cookies {
    /// Headers that set both tokens. The cookies are for this host only, hidden from scripts, and
    /// not sent with requests from pages of other sites.
    pub fn set(self, tokens: &TokenPair) -> [HeaderValue; 2] {
        [
            self.header(Kind::Access, &tokens.access_token, tokens.expires_in),
            self.header(Kind::Refresh, &tokens.refresh_token, tokens.refresh_expires_in),
        ]
    }

    /// Headers that delete both cookies.
    pub fn clear(self) -> [HeaderValue; 2] {
        [self.header(Kind::Access, "", 0), self.header(Kind::Refresh, "", 0)]
    }

    fn header(self, kind: Kind, value: &str, seconds: i64) -> HeaderValue {
        let same_site = match kind {
            Kind::Access => SameSite::Lax,
            Kind::Refresh => SameSite::Strict,
        };
        let cookie = Cookie::build((kind.name(self.is_https), value))
            .path("/")
            .http_only(true)
            .secure(self.is_https)
            .same_site(same_site)
            .max_age(Duration::seconds(seconds));
        // Tokens consist of base64url characters and dots, so this does not fail.
        HeaderValue::from_str(&cookie.to_string()).unwrap_or(HeaderValue::from_static(""))
    }
}

/// The access token in the cookie of a request without `Authorization`.
pub(super) fn access_token(parts: &Parts, gateway: &Gateway) -> Result<Option<String>, Problem> {
    of_our_page(Kind::Access, parts, gateway)
}

/// The refresh token in the cookie of a request. An error matters only to a handler that uses the
/// token.
pub(in crate::http) struct RefreshCookie(pub Result<Option<String>, Problem>);

impl FromRequestParts<Gateway> for RefreshCookie {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Infallible> {
        Ok(Self(of_our_page(Kind::Refresh, parts, gateway)))
    }
}

/// A browser sends cookies also with requests that pages of other sites have caused. So a request
/// that changes something must come from a page of this very origin.
fn of_our_page(kind: Kind, parts: &Parts, gateway: &Gateway) -> Result<Option<String>, Problem> {
    let is_https = is_https(parts, gateway);
    let found = read(&parts.headers, kind.name(is_https));
    if found.is_some() && !parts.method.is_safe() && is_same_origin(parts, is_https) != Some(true) {
        return Err(Code::CsrfRejected.into());
    }
    Ok(found)
}

/// The value of the cookie with that name. `None` if there are two, because ours cannot be told
/// from the other. Other cookies may hold any bytes.
fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut found = pairs.filter_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.trim_ascii_start();
        let value = value.strip_prefix(b"=")?.trim_ascii();
        (!value.is_empty()).then_some(value)
    });
    let first = found.next()?;
    let text = std::str::from_utf8(first).ok()?;
    (found.next().is_none() && text.len() <= LONGEST_TOKEN).then(|| text.to_owned())
}

/// Whether the browser says that a page of another origin made the request.
pub(super) fn is_foreign(parts: &Parts, gateway: &Gateway) -> bool {
    is_same_origin(parts, is_https(parts, gateway)) == Some(false)
}

/// Current browsers send `Sec-Fetch-Site`, older ones `Origin`. `None`: the request has neither, so
/// its client is no browser and shows a token.
fn is_same_origin(parts: &Parts, is_https: bool) -> Option<bool> {
    match only(&parts.headers, "sec-fetch-site") {
        Ok(Some(site)) => return Some(site == "same-origin"),
        Ok(None) => {}
        Err(_) => return Some(false),
    }
    let Ok(origin) = only(&parts.headers, ORIGIN.as_str()) else { return Some(false) };
    let (Ok(origin), Ok(Some(own))) = (origin?.to_str(), called_authority(parts)) else {
        return Some(false);
    };
    let scheme = if is_https { "https" } else { "http" };
    let own = std::str::from_utf8(own).ok().map(|own| Url::parse(&format!("{scheme}://{own}")));
    Some(match (Url::parse(origin), own) {
        (Ok(origin), Some(Ok(own))) => origin.origin() == own.origin(),
        _ => false,
    })
}
