//! Bodies, query parameters and ids: read with limits, and checked.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::field_errors::{Checked, FieldErrors, check};
use super::reading::{ReadBody, read_body};
use crate::http::Code;
use crate::http::Gateway;
use crate::http::body_memory::Purpose;
use crate::http::problem::Problem;

/// A JSON object, read from the body and checked.
pub struct JsonBody<T: Checked>(pub T::Output);

/// A longer body is parsed off the async threads. In the worst case parsing takes milliseconds, and
/// thirty times the body's memory.
const READ_AT_ONCE: usize = 16 * 1024;

impl<T: Checked<Output: Send + 'static>> FromRequest<Gateway> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, Problem> {
        if is_encoded(request.headers()) {
            return Err(Problem::with_detail(
                Code::UnsupportedMediaType,
                "The request body is compressed. Send it as it is, without Content-Encoding.",
            ));
        }
        let ReadBody { headers, bytes, memory } =
            read_body(request, gateway, Purpose::Call).await?;
        if bytes.is_empty() && T::MAY_BE_ABSENT {
            return check::<T>(Map::new(), FieldErrors::default()).map(Self);
        }
        if !is_json(&headers) {
            return Err(Code::UnsupportedMediaType.into());
        }
        if bytes.len() <= READ_AT_ONCE {
            return read_json::<T>(&bytes).map(Self);
        }
        let read = gateway.permits.run(move || {
            let _memory = memory;
            read_json::<T>(&bytes)
        });
        read.await?.map(Self)
    }
}

fn read_json<T: Checked>(bytes: &[u8]) -> Result<T::Output, Problem> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => check::<T>(object, FieldErrors::default()),
        Ok(_) => Err(Problem::with_detail(
            Code::MalformedBody,
            "The request body must be a JSON object.",
        )),
        Err(error) => Err(Problem::with_detail(
            Code::MalformedBody,
            format!(
                "The request body is not JSON: line {}, column {}.",
                error.line(),
                error.column()
            ),
        )),
    }
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        !matches!(coding.trim_ascii(), b"")
            && !coding.trim_ascii().eq_ignore_ascii_case(b"identity")
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value =
        headers.get(CONTENT_TYPE).map(reqwest::header::HeaderValue::as_bytes).unwrap_or_default();
    // The parameters do not matter. They need not even be text.
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    essence == b"application/json" || essence.ends_with(b"+json")
}

/// A query with more parameters than this is refused before it is decoded.
const MOST_PARAMETERS: usize = 100;

/// Query parameters, checked. A parameter that is given twice is a field error.
pub struct Parameters<T: Checked>(pub T::Output);

impl<T: Checked> FromRequestParts<Gateway> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Gateway) -> Result<Self, Problem> {
        let mut errors = FieldErrors::default();
        // Counted before anything is decoded: no call has so many parameters.
        let count = parts.uri.query().unwrap_or_default().bytes().filter(|b| *b == b'&').count();
        let pairs = match Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) if count < MOST_PARAMETERS => pairs,
            Ok(_) | Err(_) => {
                errors.add("query", "invalid", "is not a query string");
                Vec::new()
            }
        };
        let mut object = Map::new();
        for (name, value) in pairs {
            if object.contains_key(&name) {
                errors.add(&name, "invalid", "must be given once");
            }
            // The decoder writes this character for bytes that are no UTF-8.
            if name.contains(char::REPLACEMENT_CHARACTER)
                || value.contains(char::REPLACEMENT_CHARACTER)
            {
                errors.add(&name, "invalid", "must be UTF-8");
            }
            object.insert(name, Value::String(value));
        }
        check::<T>(object, errors).map(Self)
    }
}

/// An id in the path. A text that is no id gets 404.
pub struct Id(pub Uuid);

impl FromRequestParts<Gateway> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let Path(id) = Path::<Uuid>::from_request_parts(parts, gateway)
            .await
            .map_err(|_| Problem::from(Code::NotFound))?;
        Ok(Self(id))
    }
}
