//! The one layer around every route, from the outside in: request id, trace, leftover bodies, time limit, panic
//! guard, counting. One thin layer instead of five: each boxed layer costs as much as the routing itself.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::Instrument;

use super::answers::Listener;
use super::code::Code;
use super::problem::Problem;
use super::{Gateway, leftover, limits};
use crate::identifiers::new_id;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, for whatever refers to it.
#[derive(Clone)]
pub(super) struct RequestId(pub HeaderValue);

pub(super) async fn envelope(
    State((gateway, listener)): State<(Gateway, Listener)>,
    mut request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let id = request_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    // What fails is logged with the id below; a span for each request would cost more than its routing.
    let span = tracing::debug_span!("request", id = id.to_str().unwrap_or_default());

    let (request, leftover) = leftover::keep(request);
    let guarded = AssertUnwindSafe(next.run(request)).catch_unwind();
    let limited = tokio::time::timeout(gateway.settings.request_timeout, guarded);
    let watched = limits::watched(limited);
    let (handled, limit) =
        if span.is_disabled() { watched.await } else { watched.instrument(span.clone()).await };
    let mut response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            tracing::error!(id = id.to_str().unwrap_or_default(), "a handler panicked");
            Problem::from(Code::Internal).into_response()
        }
        Err(_elapsed) => Problem::from(Code::Busy).into_response(),
    };
    if let Some(leftover) = leftover {
        leftover.discard();
    }
    let problem = response.extensions_mut().remove::<Problem>();
    gateway.answers.count(listener, response.status(), problem.as_ref().map(Problem::code));
    let route = route.as_ref().map_or("-", MatchedPath::as_str);
    if let Some(problem) = problem {
        problem.log(id.to_str().unwrap_or_default(), &method, route);
        let rendered = problem.render(id.to_str().unwrap_or_default());
        let (parts, body) = rendered.into_parts();
        *response.status_mut() = parts.status;
        response.headers_mut().remove(axum::http::header::CONTENT_LENGTH);
        response.headers_mut().extend(parts.headers);
        *response.body_mut() = body;
    }
    tracing::debug!(
        parent: &span,
        %method,
        route,
        status = response.status().as_u16(),
        elapsed_us = start.elapsed().as_micros(),
        "answered"
    );
    if let Some(limit) = limit {
        limits::describe(limit, response.headers_mut());
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// A client's own id is kept where it is short and plain, so that it can be found in its logs and in ours.
fn request_id(request: &Request) -> HeaderValue {
    let plain = |value: &&HeaderValue| {
        (8..=64).contains(&value.len())
            && value
                .as_bytes()
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if let Some(given) = request.headers().get(&REQUEST_ID).filter(plain) {
        return given.clone();
    }
    HeaderValue::from_str(&new_id().to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

pub(super) async fn not_found() -> Problem {
    Code::NotFound.into()
}

pub(super) async fn method_not_allowed() -> Problem {
    Code::MethodNotAllowed.into()
}
