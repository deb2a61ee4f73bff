//! Accepts connections and serves HTTP/1 and HTTP/2 (h2c) on them, until the drain delay is over.
//! Then in-flight requests finish, up to the drain timeout. There are two listeners: one for the
//! public, one for operations.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Activity, Answer, Socket};
use super::extract::Peer;
use super::{Gateway, router};
use crate::configuration::HttpSettings;
use crate::lifecycle::Lifecycle;
use crate::limits::Pool;

/// The listener rests for this long after a failed accept, such as one that ran out of file
/// descriptors.
const REST_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);
const MAX_HTTP2_STREAMS: u32 = 200;
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Bytes that an HTTP/2 client may send before they are read, and bytes of answers that are
/// buffered for it.
const HTTP2_STREAM_BYTES: u32 = 64 * 1024;
const HTTP2_CONNECTION_BYTES: u32 = 512 * 1024;

/// The sockets on which the gateway accepts connections.
pub struct Listeners {
    /// For every client: `http.listen`.
    pub public: TcpListener,
    /// For operating the gateway: `http.operations_listen`.
    pub operations: TcpListener,
}

/// Serves the gateway on both listeners. They close together: `http.drain_delay` after the drain of
/// `life` has begun, or at its stop. Returns when every connection has ended after that, or when
/// the drain timeout has passed. Returns what is left of the drain timeout.
pub async fn serve(
    listeners: Listeners,
    gateway: Gateway,
    settings: &HttpSettings,
    life: &Lifecycle,
) -> Duration {
    let closing = || life.closing(settings.drain_delay);
    // Each listener has connections of its own: a flood of clients must not block the operations
    // listener.
    let (public, operations) = tokio::join!(
        serve_on(listeners.public, router::public(gateway.clone()), settings, closing()),
        serve_on(listeners.operations, router::operations(gateway), settings, closing()),
    );
    public.min(operations)
}

async fn serve_on(
    listener: TcpListener,
    router: Router,
    settings: &HttpSettings,
    closing: impl Future<Output = ()>,
) -> Duration {
    let builder = Arc::new(protocols());
    let places = Arc::new(Semaphore::new(settings.max_connections));
    let networks = Pool::new(usize::MAX, settings.max_connections_per_network);
    let (open, no_more) = (TaskTracker::new(), CancellationToken::new());

    let mut closing = std::pin::pin!(closing);
    loop {
        let accepted = tokio::select! {
            () = &mut closing => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        // Computed once for each connection, not for each request.
        let peer = Peer::of(peer, &settings.trusted_proxies);
        // A trusted proxy is not counted, because it carries the requests of many clients.
        let mut of_network = networks.hold((!peer.is_proxy).then_some(peer.address));
        if of_network.grow(1).is_err() {
            turn_away(&stream, peer);
            continue;
        }
        let activity = Activity::new(settings);
        let service = TowerToHyperService::new(router.clone().into_service::<Incoming>());
        let noted = activity.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let answering = noted.begin(request.version());
            request.extensions_mut().insert(peer);
            if let Some(path) = webhook_path(request.uri().path()) {
                set_path(&mut request, &path);
            }
            let answer = service.call(request);
            async move { Ok::<_, Infallible>(answer.await?.map(|body| Answer::new(body, answering))) }
        });
        let (builder, no_more) = (builder.clone(), no_more.child_token());
        open.spawn(async move {
            let _places = (place, of_network);
            let socket = TokioIo::new(Socket::new(stream, activity.clone()));
            let connection = builder.serve_connection(socket, service);
            connection::serve(connection, &activity, no_more).await;
        });
    }
    drop(listener);
    let deadline = Instant::now() + settings.drain_timeout;
    no_more.cancel();
    open.close();
    if tokio::time::timeout_at(deadline, open.wait()).await.is_err() {
        tracing::warn!("some requests did not finish within the drain timeout");
    }
    deadline.saturating_duration_since(Instant::now())
}

/// HTTP/1 and HTTP/2. The time limits of a connection are in [`connection`].
fn protocols() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .initial_stream_window_size(HTTP2_STREAM_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_BYTES)
        .max_send_buf_size(HTTP2_STREAM_BYTES as usize)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Closes a connection of a network that already has its maximum of connections.
fn turn_away(stream: &TcpStream, peer: Peer) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            "{} has http.max_connections_per_network connections, and gets no more: if it is a proxy, name it in \
             http.trusted_proxies, which are not counted",
            peer.address
        );
    });
    // The kernel keeps no state of it.
    let _ = stream.set_zero_linger();
}

/// The webhook path without surplus slashes: people who give a provider its URL often write one too
/// many. `None`: the path is no webhook's, or needs no change.
fn webhook_path(path: &str) -> Option<String> {
    let may_be_one = path.starts_with("/webhooks/") || path.starts_with("//");
    if !may_be_one || !(path.contains("//") || path.ends_with('/')) {
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    (parts.first() == Some(&"webhooks")).then(|| format!("/{}", parts.join("/")))
}

fn set_path<B>(request: &mut Request<B>, path: &str) {
    let mut parts = request.uri().clone().into_parts();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    parts.path_and_query = format!("{path}{query}").parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            let _ = stream.set_nodelay(true);
            Some((stream, peer, place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(REST_AFTER_FAILED_ACCEPT).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/webhooks/telnyx", None)]
    #[case("/webhooks/telnyx/", Some("/webhooks/telnyx"))]
    #[case("//webhooks///telnyx//", Some("/webhooks/telnyx"))]
    #[case("//v1/members", None)]
    #[case("/v1/webhooks//x", None)]
    fn only_the_slashes_of_webhooks_are_forgiven(#[case] path: &str, #[case] mended: Option<&str>) {
        assert_eq!(webhook_path(path).as_deref(), mended);
    }
}
