//! The id of a request in the answer, the log and the audit log.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::short_text::ShortText;
use crate::identifiers::new_id;

/// Header of the request and of its answer.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId(ShortText<64>);

impl RequestId {
    /// The client's own id if it is short and plain, so that it can be found in the client's logs
    /// and in ours; else a new id.
    pub fn of(headers: &HeaderMap) -> Self {
        let plain = |value: &&HeaderValue| {
            (8..=64).contains(&value.len())
                && value
                    .as_bytes()
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let given = headers.get(REQUEST_ID).filter(plain);
        let mut room = Uuid::encode_buffer();
        let mut text = ShortText::default();
        // Both fit into the 64 bytes.
        let _ = match given.and_then(|id| id.to_str().ok()) {
            Some(id) => text.push(id),
            None => text.push(new_id().hyphenated().encode_lower(&mut room)),
        };
        Self(text)
    }

    /// The value for the header of the answer.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}
