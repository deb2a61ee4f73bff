//! Headers that count only if they occur once.

use axum::http::header::AsHeaderName;
use axum::http::{HeaderMap, HeaderValue};

/// Bytes. A longer token is neither ours nor an identity provider's, and is not parsed.
pub(super) const LONGEST_TOKEN: usize = 8 * 1024;

pub(super) struct Several;

/// The header's value; an error if the header occurs several times.
pub(super) fn only(
    headers: &HeaderMap,
    name: impl AsHeaderName,
) -> Result<Option<&HeaderValue>, Several> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Several) } else { Ok(first) }
}
