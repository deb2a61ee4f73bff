//! The unread rest of a request's body after its answer is ready: read and discarded for a while. A
//! socket that is closed with unread bytes resets the connection, and the client may lose the
//! answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{Version, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;

/// A client that sends for longer, or more bytes, is disconnected.
const LONGEST: Duration = Duration::from_secs(5);
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The unread rest of a body.
pub(super) struct Leftover(Arc<Mutex<Body>>);

/// Shares the body, so that its unread rest can be discarded after the answer. `None` for an empty
/// body, for HTTP/2, which ends only the stream, and for a client that expects `100 Continue`,
/// which has sent nothing yet.
pub(super) fn keep(request: Request) -> (Request, Option<Leftover>) {
    let (parts, body) = request.into_parts();
    let streams = parts.version >= Version::HTTP_2;
    if body.is_end_stream() || streams || parts.headers.contains_key(header::EXPECT) {
        return (Request::from_parts(parts, body), None);
    }
    let shared = Arc::new(Mutex::new(body));
    let reader = Body::new(Reader(shared.clone()));
    (Request::from_parts(parts, reader), Some(Leftover(shared)))
}

impl Leftover {
    /// Discards the rest in a task of its own. The answer does not wait for it.
    pub(super) fn discard(self) {
        let mut rest = Reader(self.0);
        if rest.is_end_stream() {
            return;
        }
        tokio::spawn(async move {
            let all = async {
                let mut bytes = 0;
                while let Some(Ok(frame)) = rest.frame().await {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    if bytes > MOST_BYTES {
                        break;
                    }
                }
            };
            let _ = tokio::time::timeout(LONGEST, all).await;
        });
    }
}

/// The body as the handler reads it.
struct Reader(Arc<Mutex<Body>>);

impl Reader {
    fn body(&self) -> parking_lot::MutexGuard<'_, Body> {
        self.0.lock()
    }
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}
