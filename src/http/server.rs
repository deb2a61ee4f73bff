//! Accepting connections and serving HTTP/1 and HTTP/2 (h2c) on them, until the drain delay is over; then in-flight
//! requests finish, up to the drain timeout. There are two listeners: one for everybody, one for operations.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::extract::Peer;
use super::{Gateway, router};
use crate::configuration::HttpSettings;
use crate::lifecycle::Lifecycle;

/// After a failed accept (out of file descriptors, say) the listener rests for this long.
const REST_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);
/// Between two looks at what a slow client has sent so far.
const PEEK_PAUSE: Duration = Duration::from_millis(20);
const MAX_HTTP2_STREAMS: u32 = 200;
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Where the gateway is reached.
pub struct Listeners {
    /// By everybody: `http.listen`.
    pub public: TcpListener,
    /// By those who run it: `http.operations_listen`.
    pub operations: TcpListener,
}

/// Serves the gateway on both listeners. They close together, `http.drain_delay` after the drain of `life` has begun or
/// at its stop. Returns when every connection has ended after that, or when the drain timeout has passed; says what was
/// left of it.
pub async fn serve(
    listeners: Listeners,
    gateway: Gateway,
    settings: &HttpSettings,
    life: &Lifecycle,
) -> Duration {
    let closing = || life.closing(settings.drain_delay);
    // Each has places of its own: a flood of clients must not keep anybody from seeing it.
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
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    let builder = Arc::new(builder);
    let places = Arc::new(Semaphore::new(settings.max_connections));
    let graceful = GracefulShutdown::new();

    let mut closing = std::pin::pin!(closing);
    loop {
        let accepted = tokio::select! {
            () = &mut closing => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let service = TowerToHyperService::new(router.clone().into_service::<Incoming>());
        // Asked once for each connection, not for each request.
        let peer = Peer::of(peer, &settings.trusted_proxies);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            service.call(request)
        });
        let watcher = graceful.watcher();
        let builder = builder.clone();
        let header_timeout = settings.header_timeout;
        tokio::spawn(async move {
            let _place = place;
            // The protocol is told from the first bytes, and hyper waits for these without a limit.
            if !begins_to_speak(&stream, header_timeout).await {
                return;
            }
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(%error, "a client's connection ended badly");
            }
        });
    }
    drop(listener);
    let deadline = Instant::now() + settings.drain_timeout;
    if tokio::time::timeout_at(deadline, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish within the drain timeout");
    }
    deadline.saturating_duration_since(Instant::now())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
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

/// How an HTTP/2 client begins (RFC 9113, section 3.4). While it can still be this, nobody knows what it speaks.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Waits until it is clear what the client speaks. The bytes stay in the socket.
async fn begins_to_speak(stream: &tokio::net::TcpStream, limit: Duration) -> bool {
    let clear = async {
        let mut bytes = [0; HTTP2_PREFACE.len()];
        loop {
            match stream.peek(&mut bytes).await {
                Ok(0) | Err(_) => return false,
                Ok(n) if n == bytes.len() || bytes[..n] != HTTP2_PREFACE[..n] => return true,
                // Peeking again would answer at once with the same bytes.
                Ok(_) => tokio::time::sleep(PEEK_PAUSE).await,
            }
        }
    };
    tokio::time::timeout(limit, clear).await.unwrap_or(false)
}
