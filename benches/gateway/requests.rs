//! Requests as bytes, made before the clock starts.

use std::sync::Arc;

use narthex::clock::Clock;
use narthex::identifiers::unguessable_id;
use narthex::webhooks::telnyx::sample;
use narthex::webhooks::telnyx::signature::{SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER};

/// Different people who write; each has a conversation of their own.
const CONTACTS: usize = 2000;

/// A request, and what its answer must hold.
pub struct Shot {
    /// Which tenant of the world.
    pub tenant: usize,
    pub bytes: Vec<u8>,
    /// A part of every good answer.
    pub must_hold: Vec<u8>,
    /// That part names the tenant: an answer without it is somebody else's.
    pub tagged: bool,
}

pub fn get(path: &str, token: Option<&str>) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n{}\r\n", authorization(token)).into_bytes()
}

pub fn with_body(method: &str, path: &str, token: Option<&str>, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        authorization(token),
        body.len()
    )
    .into_bytes()
}

fn authorization(token: Option<&str>) -> String {
    token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"))
}

/// A look at the gateway's health.
pub fn health() -> Arc<Shot> {
    Arc::new(Shot {
        tenant: 0,
        bytes: get("/health", None),
        must_hold: b"\"ready\"".to_vec(),
        tagged: false,
    })
}

/// Fresh signed messages to one number. The signatures are good for five minutes.
pub fn webhooks(key: &SigningKey, to: &str, count: usize) -> Vec<Arc<Shot>> {
    let now = Clock::system().now();
    let id = || unguessable_id().to_string();
    (0..count)
        .map(|n| {
            let from = format!("+1312555{:04}", n % CONTACTS);
            let text = "Is there a service on Sunday, and may we bring the children?";
            let body = sample::inbound_sms(&id(), &id(), &from, to, text, now).to_string();
            let timestamp = now.timestamp();
            let signature = key.sign(timestamp, body.as_bytes());
            let bytes = format!(
                "POST /webhooks/telnyx HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
                 {SIGNATURE_HEADER}: {signature}\r\n{TIMESTAMP_HEADER}: {timestamp}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            Arc::new(Shot {
                tenant: 0,
                bytes: bytes.into_bytes(),
                must_hold: b"\"accepted\"".to_vec(),
                tagged: false,
            })
        })
        .collect()
}
