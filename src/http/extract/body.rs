//! Bodies, query parameters and ids, read with limits and checked.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::faults::{Checked, Faults, check};
use crate::http::Code;
use crate::http::Gateway;
use crate::http::problem::Problem;

/// A body that has been read, and the room that it takes while it is in use.
pub struct ReadBody {
    /// Of its request.
    pub headers: HeaderMap,
    /// Exactly as received.
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// The exact bytes of a body, at most `http.max_body` of them.
pub async fn read_body(request: Request, gateway: &Gateway) -> Result<ReadBody, Problem> {
    let limit = gateway.settings.max_body;
    let (parts, body) = request.into_parts();
    let declared = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(Code::BodyTooLarge.into());
    }
    // Taken for what may come, before anything is read: a body of unknown length can be of the largest.
    let kib = declared.unwrap_or(if body.is_end_stream() { 0 } else { limit }).div_ceil(1024);
    let room = match u32::try_from(kib) {
        Ok(0) => None,
        Ok(kib) => {
            Some(gateway.bodies.clone().try_acquire_many_owned(kib).map_err(|_| Code::Busy)?)
        }
        Err(_) => return Err(Code::BodyTooLarge.into()),
    };
    match Limited::new(body, limit).collect().await {
        Ok(collected) => {
            Ok(ReadBody { headers: parts.headers, bytes: collected.to_bytes(), _room: room })
        }
        Err(error) if error.is::<LengthLimitError>() => Err(Code::BodyTooLarge.into()),
        Err(_) => Err(Problem::with_detail(Code::MalformedBody, "The request body broke off.")),
    }
}

/// A JSON object, checked.
pub struct JsonBody<T: Checked>(pub T::Output);

impl<T: Checked> FromRequest<Gateway> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, Problem> {
        let ReadBody { headers, bytes, _room } = read_body(request, gateway).await?;
        if bytes.is_empty() && T::MAY_BE_ABSENT {
            return check::<T>(Map::new(), Faults::default()).map(Self);
        }
        if !is_json(&headers) {
            return Err(Code::UnsupportedMediaType.into());
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => check::<T>(object, Faults::default()).map(Self),
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
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    essence.is_some_and(|essence| essence == "application/json" || essence.ends_with("+json"))
}

/// Query parameters, checked. A parameter given twice is a fault.
pub struct Parameters<T: Checked>(pub T::Output);

impl<T: Checked> FromRequestParts<Gateway> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Gateway) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let pairs = match Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) => pairs,
            Err(_) => {
                faults.add("query", "invalid", "is not a query string");
                Vec::new()
            }
        };
        let mut object = Map::new();
        for (name, value) in pairs {
            if object.contains_key(&name) {
                faults.add(&name, "invalid", "must be given once");
            }
            // Decoding puts this in the place of what is no UTF-8.
            if name.contains(char::REPLACEMENT_CHARACTER)
                || value.contains(char::REPLACEMENT_CHARACTER)
            {
                faults.add(&name, "invalid", "must be UTF-8");
            }
            object.insert(name, Value::String(value));
        }
        check::<T>(object, faults).map(Self)
    }
}

/// An id in the path. What is no id names nothing: 404.
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
