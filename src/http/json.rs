//! A document as the body of an answer.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Bytes; most documents fit into them.
const ROOM: usize = 1024;

/// As `axum::Json`, whose buffer grows twice for a document of some hundred bytes and is slow to
/// write to.
pub(super) struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match written(&self.0) {
            Ok(bytes) => {
                let mut response = Response::new(Body::from(bytes));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            Err(error) => {
                tracing::error!(%error, "a document could not be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// One allocation for a document that fits into [`ROOM`]. A longer document is serialized again.
fn written(document: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut room = [0; ROOM];
    let mut rest = &mut room[..];
    match serde_json::to_writer(&mut rest, document) {
        Ok(()) => {
            let length = ROOM - rest.len();
            Ok(Bytes::copy_from_slice(&room[..length]))
        }
        Err(error) if error.is_io() => {
            let mut bytes = Vec::with_capacity(2 * ROOM);
            serde_json::to_writer(&mut bytes, document)?;
            Ok(bytes.into())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_any_length_is_written_whole() {
        for length in (ROOM - 5..ROOM + 5).chain([0, 1, 5 * ROOM]) {
            let text = "x".repeat(length);
            assert_eq!(written(&text).unwrap(), format!("\"{text}\""), "{length}");
        }
    }
}
