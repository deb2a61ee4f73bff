//! The one layer around every route, from the outside in: request id, trace, unread bodies, time
//! limit, panic guard, response metrics. It is one thin layer and not five, because each boxed
//! layer costs as much as the routing itself.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument;

use super::code::Code;
use super::extract::Peer;
use super::problem::Problem;
use super::request_id::{REQUEST_ID, RequestId};
use super::response_metrics::Listener;
use super::unread_body::Leftover;
use super::{Gateway, limits, unread_body};

/// Puts [`Enveloped`] around a route.
#[derive(Clone)]
pub(super) struct Envelope {
    pub gateway: Gateway,
    pub listener: Listener,
}

impl<R> Layer<R> for Envelope {
    type Service = Enveloped<R>;

    fn layer(&self, route: R) -> Enveloped<R> {
        Enveloped { route, envelope: self.clone() }
    }
}

/// A route with the layer around it. Written without `from_fn`, which puts the route into two more
/// boxes for each request.
#[derive(Clone)]
pub(super) struct Enveloped<R> {
    route: R,
    envelope: Envelope,
}

impl<R> Service<Request> for Enveloped<R>
where
    R: Service<Request, Response = Response, Error = Infallible>,
    R::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.route.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let start = Instant::now();
        let id = RequestId::of(request.headers());
        Peer::name(request.extensions_mut(), id);
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().cloned();
        let (request, unread_body) = unread_body::keep(request);
        let handled = self.route.call(request);
        let asked = Asked { start, id, method, route, unread_body };
        let envelope = self.envelope.clone();
        Box::pin(async move { Ok(envelope.answer(handled, asked).await) })
    }
}

/// The facts about a request that are kept before the route takes it.
struct Asked {
    start: Instant,
    id: RequestId,
    method: Method,
    route: Option<MatchedPath>,
    unread_body: Option<Leftover>,
}

impl Envelope {
    async fn answer(
        self,
        handled: impl Future<Output = Result<Response, Infallible>>,
        asked: Asked,
    ) -> Response {
        let Asked { start, id, method, route, unread_body } = asked;
        // A failure is logged with the id below. A span for each request would cost more than its
        // routing.
        let span = tracing::debug_span!("request", id = id.as_str());
        let guarded = AssertUnwindSafe(handled).catch_unwind();
        let limited = tokio::time::timeout(self.gateway.settings.request_timeout, guarded);
        let watched = limits::watched(limited);
        let (handled, limit) =
            if span.is_disabled() { watched.await } else { watched.instrument(span.clone()).await };
        let mut response = match handled {
            Ok(Ok(Ok(response))) => response,
            Ok(Err(_panic)) => {
                tracing::error!(id = id.as_str(), "a handler panicked");
                Problem::from(Code::Internal).into_response()
            }
            Err(_elapsed) => Problem::from(Code::Busy).into_response(),
        };
        if let Some(unread_body) = unread_body {
            unread_body.discard();
        }
        let problem = response.extensions_mut().remove::<Problem>();
        let code = problem.as_ref().map(Problem::code);
        self.gateway.response_metrics.count(self.listener, response.status(), code);
        let route = route.as_ref().map_or("-", MatchedPath::as_str);
        if let Some(problem) = problem {
            problem.log(id.as_str(), &method, route);
            let rendered = problem.render(id.as_str());
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
            self.gateway.limits.describe(limit, response.headers_mut());
        }
        if let Ok(id) = HeaderValue::from_bytes(id.as_bytes()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }
}

pub(super) async fn not_found() -> Problem {
    Code::NotFound.into()
}

pub(super) async fn method_not_allowed() -> Problem {
    Code::MethodNotAllowed.into()
}
