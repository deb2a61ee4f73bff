//! One client's connection: how long it may send nothing, take for the head of a request, and leave its answers unread.
//!
//! hyper's own limit for heads counts the time between two requests, too, and knows no limit for answers. So what a
//! connection is doing is noted here as its bytes and requests go by, and one timer watches over it.

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

/// For what is left to be sent when a connection is ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a connection is doing.
pub(super) struct Activity {
    opened: Instant,
    /// Requests whose answers hyper has not taken over completely.
    requests: AtomicUsize,
    /// Milliseconds from `opened` to the last beginning or end of a request.
    changed: AtomicU64,
    /// As `changed`, one more, to the first byte of a request's head; 0: nothing of one has arrived.
    head: AtomicU64,
    /// Bytes between requests mean nothing there: clients send pings.
    is_http2: AtomicBool,
    /// What is not sent yet will not be.
    is_abandoned: AtomicBool,
    header_timeout: Duration,
    idle_timeout: Duration,
    request_timeout: Duration,
    write_timeout: Duration,
}

impl Activity {
    /// Of a connection that was just opened: it owes the head of a request.
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

    /// A request has begun; it ends with what is returned.
    pub fn begin(self: &Arc<Self>, version: Version) -> Answering {
        if version >= Version::HTTP_2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        self.changed.store(self.now(), Ordering::Relaxed);
        Answering(self.clone())
    }

    /// By when something has to change. Moves on as it does.
    fn deadline(&self) -> Instant {
        let (head, changed) =
            (self.head.load(Ordering::Relaxed), self.changed.load(Ordering::Relaxed));
        let at = |millis| self.opened + Duration::from_millis(millis);
        match (self.requests.load(Ordering::Relaxed), head) {
            (0, 0) => at(changed) + self.idle_timeout,
            (0, head) => at(head - 1) + self.header_timeout,
            // Then at the latest an answer has begun, and was not taken.
            _ => at(changed) + self.request_timeout + self.idle_timeout,
        }
    }

    /// Ends when the deadline is over. `timer` is put back only where the deadline comes earlier than it goes off.
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

/// Serves a connection to its end: that of the client, of the listener, or of the time for whatever comes next.
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

/// A request that is being answered.
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.changed.store(self.0.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer. When it is dropped, hyper has all of it.
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

/// The socket. Writing fails when nothing could be written for the write time-out.
pub(super) struct Socket {
    stream: TcpStream,
    activity: Arc<Activity>,
    /// Runs while nothing can be written.
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
        // Else the system holds what nobody reads for minutes.
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
