//! Limits of one client connection: silence, time for the head of a request, time in which answers
//! stay unread.
//!
//! hyper's own limit for heads also counts the time between two requests, and hyper has no limit
//! for answers. So this module records what a connection is doing, and one timer watches it.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::Version;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::configuration::HttpSettings;

/// Time to send what is left when a connection is ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// The state of a connection, which its socket and its requests update.
pub(super) struct Activity {
    opened: Instant,
    /// Requests whose answers hyper has not read completely.
    requests: AtomicUsize,
    /// Milliseconds from `opened` to the last start or end of a request.
    changed: AtomicU64,
    /// Milliseconds from `opened` to the first byte of a request's head, plus one; 0 where none has
    /// arrived.
    head: AtomicU64,
    /// Bytes between requests do not count on HTTP/2, because clients send pings.
    is_http2: AtomicBool,
    /// The connection is given up: unsent bytes are dropped.
    is_abandoned: AtomicBool,
    header_timeout: Duration,
    idle_timeout: Duration,
    request_timeout: Duration,
    write_timeout: Duration,
}

impl Activity {
    /// The state of a new connection: it owes the head of a request.
    pub fn new(settings: &HttpSettings) -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            changed: AtomicU64::new(0),
            head: AtomicU64::new(1),
            is_http2: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            header_timeout: settings.header_timeout,
            idle_timeout: settings.idle_timeout,
            request_timeout: settings.request_timeout,
            write_timeout: settings.write_timeout,
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn bytes_arrived(&self) {
        let is_between = self.requests.load(Ordering::Relaxed) == 0
            && self.head.load(Ordering::Relaxed) == 0
            && !self.is_http2.load(Ordering::Relaxed);
        if is_between {
            self.head.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Records the start of a request. The request ends when the returned value is dropped.
    pub fn begin(self: &Arc<Self>, version: Version) -> Answering {
        if version >= Version::HTTP_2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        self.changed.store(self.now(), Ordering::Relaxed);
        Answering(self.clone())
    }

    /// The time at which the connection is ended. It moves on with each change.
    fn deadline(&self) -> Instant {
        let (head, changed) =
            (self.head.load(Ordering::Relaxed), self.changed.load(Ordering::Relaxed));
        let at = |millis| self.opened + Duration::from_millis(millis);
        match (self.requests.load(Ordering::Relaxed), head) {
            (0, 0) => at(changed) + self.idle_timeout,
            (0, head) => at(head - 1) + self.header_timeout,
            // The answer has begun by then at the latest, and the client has not read it.
            _ => at(changed) + self.request_timeout + self.idle_timeout,
        }
    }

    /// Ends when the deadline is over. `timer` is reset only where the deadline is earlier than its
    /// own.
    async fn overdue(&self, mut timer: Pin<&mut Sleep>) {
        std::future::poll_fn(|context| {
            loop {
                let deadline = self.deadline();
                if deadline < timer.deadline() {
                    timer.as_mut().reset(deadline);
                }
                ready!(timer.as_mut().poll(context));
                if self.deadline() <= Instant::now() {
                    return Poll::Ready(());
                }
                timer.as_mut().reset(self.deadline());
            }
        })
        .await;
    }
}

/// Serves a connection until the client ends it, the listener closes, or its deadline is over.
pub(super) async fn serve<C>(connection: C, activity: &Activity, closing: CancellationToken)
where
    C: GracefulConnection<Error: std::fmt::Display>,
{
    let mut connection = pin!(connection);
    let mut timer = pin!(tokio::time::sleep_until(activity.deadline()));
    let mut closing = pin!(closing.cancelled_owned());
    let mut is_closing = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a client's connection ended badly");
                }
                return;
            }
            () = &mut closing, if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = activity.overdue(timer.as_mut()) => break,
        }
    }
    connection.as_mut().graceful_shutdown();
    if tokio::time::timeout(FAREWELL, connection).await.is_err() {
        activity.is_abandoned.store(true, Ordering::Relaxed);
    }
}

/// A request in progress.
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.changed.store(self.0.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer. It is dropped when hyper has read all of it.
pub(super) struct Answer<B> {
    body: B,
    _answering: Answering,
}

impl<B> Answer<B> {
    pub fn new(body: B, answering: Answering) -> Self {
        Self { body, _answering: answering }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The socket. A write fails when no byte could be written for the write time-out.
pub(super) struct Socket {
    stream: TcpStream,
    activity: Arc<Activity>,
    /// Set while no byte can be written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { stream, activity, stalled: None }
    }

    fn progress<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.activity.write_timeout;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(timer.as_mut().poll(context));
        self.activity.is_abandoned.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Otherwise the kernel keeps the unread bytes for minutes.
        if self.activity.is_abandoned.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > before {
            self.activity.bytes_arrived();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.progress(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.progress(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
