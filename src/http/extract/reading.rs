//! The bytes of a request's body, with limits on one body, on one network, on all bodies together,
//! and on the pace.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::client::counted_address;
use crate::configuration::HttpSettings;
use crate::http::body_memory::Purpose;
use crate::http::problem::Problem;
use crate::http::{Code, Gateway};
use crate::limits::Held;

/// A body that arrives more slowly than this, in bytes a second, is ended.
const SLOWEST: usize = 8 * 1024;

/// A body that has been read. It holds its share of the body memory while it is in use.
pub(in crate::http) struct ReadBody {
    /// Headers of the request.
    pub headers: HeaderMap,
    /// The body, exactly as received.
    pub bytes: Bytes,
    pub(super) memory: Held,
}

/// The exact bytes of a body, at most `http.max_body` of them.
///
/// # Errors
///
/// `body_too_large`; `busy`, where the memory for bodies is used up; `body_timeout`, where the body
/// does not arrive; `malformed_body`, where it ends too early.
pub(in crate::http) async fn read_body(
    request: Request,
    gateway: &Gateway,
    purpose: Purpose,
) -> Result<ReadBody, Problem> {
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
    let address: Option<IpAddr> = counted_address(&parts, &gateway.settings.trusted_proxies);
    let mut memory = gateway.bodies.of(purpose).hold(address);
    let bytes = collect(body, limit, &mut memory, &gateway.settings).await?;
    Ok(ReadBody { headers: parts.headers, bytes, memory })
}

async fn collect(
    mut body: Body,
    limit: usize,
    memory: &mut Held,
    settings: &HttpSettings,
) -> Result<Bytes, Problem> {
    let pace = Pace { begun: Instant::now(), settings };
    let mut deadline = pace.next(pace.begun, 0);
    // Most bodies arrive in one piece, which is not copied.
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    loop {
        let frame = tokio::time::timeout_at(deadline, body.frame()).await;
        let frame = frame.map_err(|_| Problem::from(Code::BodyTimeout))?;
        let Some(frame) = frame else { break };
        let broken = |_| Problem::with_detail(Code::MalformedBody, "The request body broke off.");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let length = first.len().max(more.len()) + data.len();
        if length > limit {
            return Err(Code::BodyTooLarge.into());
        }
        memory.grow(data.len()).map_err(|_| Code::Busy)?;
        match (first.is_empty(), more.is_empty()) {
            (true, true) => first = data,
            (false, true) => {
                more.extend_from_slice(&first);
                more.extend_from_slice(&data);
            }
            _ => more.extend_from_slice(&data),
        }
        if !more.is_empty() {
            first = Bytes::new();
        }
        deadline = pace.next(Instant::now(), length);
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}

/// Deadlines of a body that is being read.
struct Pace<'a> {
    begun: Instant,
    settings: &'a HttpSettings,
}

impl Pace<'_> {
    /// The time by which more has to arrive, after `bytes` bytes of which the last came at `now`.
    fn next(&self, now: Instant, bytes: usize) -> Instant {
        let silence = self.settings.body_silence;
        let earned = Duration::from_millis((bytes as u64).saturating_mul(1000) / SLOWEST as u64);
        let slowest = self.begun + silence + earned;
        (now + silence).min(slowest).min(self.begun + self.settings.body_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn more_of_a_body_has_to_come_soon_at_a_pace_and_to_an_end() {
        let settings = HttpSettings {
            body_silence: Duration::from_secs(3),
            body_timeout: Duration::from_secs(10),
            ..HttpSettings::default()
        };
        let begun = Instant::now();
        let pace = Pace { begun, settings: &settings };
        let after = |seconds: u64, bytes| {
            pace.next(begun + Duration::from_secs(seconds), bytes).duration_since(begun).as_secs()
        };
        assert_eq!(after(0, 0), 3);
        // A byte at a time is too slow.
        assert_eq!(after(2, 1), 3);
        assert_eq!(after(2, 4 * SLOWEST), 5);
        assert_eq!(after(9, 1_000_000), 10);
    }
}
