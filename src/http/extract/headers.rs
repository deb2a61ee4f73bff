//! Headers that count only where they come once.

use axum::http::header::AsHeaderName;
use axum::http::{HeaderMap, HeaderValue};

/// A longer token is none of ours, nor of an identity provider, and is not looked at.
pub(super) const LONGEST_TOKEN: usize = 8 * 1024;

pub(super) struct Several;

/// The header, unless it came several times.
pub(super) fn only(
    headers: &HeaderMap,
    name: impl AsHeaderName,
) -> Result<Option<&HeaderValue>, Several> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Several) } else { Ok(first) }
}
