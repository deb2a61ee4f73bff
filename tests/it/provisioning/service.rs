//! A service of the operator, played on this machine: it believes good signatures only, keeps what it has made, and
//! misbehaves on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use narthex::configuration::{HookKey, HookSettings, HooksSettings};
use ring::hmac;
use secrecy::SecretSlice;
use serde_json::{Value, json};

const KEY: [u8; 32] = [7; 32];

/// What a test decides on a call: the status and body of the answer in place of the usual one.
pub type Mood = Arc<dyn Fn(&Value) -> Option<(u16, String)> + Send + Sync>;

#[derive(Default)]
struct Seen {
    /// Kind and tenant of what is there.
    made: BTreeMap<(String, String), String>,
    /// Type of each call, in order.
    calls: Vec<String>,
    ids: Vec<String>,
}

/// The service.
#[derive(Clone)]
pub struct Service {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone)]
struct Inside {
    seen: Arc<Mutex<Seen>>,
    mood: Mood,
}

impl Service {
    pub async fn start() -> Self {
        Self::with(Arc::new(|_| None)).await
    }

    /// One that answers some calls otherwise.
    pub async fn with(mood: Mood) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let inside = Inside { seen: seen.clone(), mood };
        let router = Router::new().fallback(answer).with_state(inside);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    pub fn hook(&self) -> Option<HookSettings> {
        let key = HookKey(SecretSlice::from(KEY.to_vec()));
        Some(HookSettings { url: self.url.clone(), key })
    }

    /// Every kind of service is this one, but for the one that is only told.
    pub fn makes_everything(&self) -> HooksSettings {
        HooksSettings {
            identity_realm: self.hook(),
            storage: self.hook(),
            infrastructure: self.hook(),
            deployment: self.hook(),
            dns: self.hook(),
            notify: None,
        }
    }

    /// How many things are there.
    pub fn things(&self) -> usize {
        self.seen.lock().unwrap().made.len()
    }

    /// The type of each call, in order.
    pub fn calls(&self) -> Vec<String> {
        self.seen.lock().unwrap().calls.clone()
    }

    /// The id of each call, in order.
    pub fn ids(&self) -> Vec<String> {
        self.seen.lock().unwrap().ids.clone()
    }
}

fn is_signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let mut signed = format!("{}.{}.", text("webhook-id"), text("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(body);
    let signature = text("webhook-signature");
    let signature = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &KEY), &signed, &signature).is_ok()
}

async fn answer(
    State(inside): State<Inside>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    if !is_signed(&headers, &body) {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    let call: Value = serde_json::from_slice(&body).unwrap();
    let name = call["type"].as_str().unwrap().to_owned();
    let (kind, event) = name.strip_prefix("tenant.").unwrap().rsplit_once('.').unwrap();
    let tenant = call["data"]["tenant_id"].as_str().unwrap().to_owned();
    let mut seen = inside.seen.lock().unwrap();
    seen.calls.push(name.clone());
    seen.ids.push(headers["webhook-id"].to_str().unwrap().to_owned());
    if let Some((status, text)) = (inside.mood)(&call) {
        return (StatusCode::from_u16(status).unwrap(), text);
    }
    let key = (kind.to_owned(), tenant.clone());
    match event {
        "make" => {
            let reference = format!("{kind}-of-{tenant}");
            seen.made.insert(key, reference.clone());
            (StatusCode::CREATED, json!({"reference": reference, "more": [1]}).to_string())
        }
        "release" => match seen.made.remove(&key) {
            Some(reference) => {
                let named = &call["data"]["reference"];
                assert!(named.is_null() || *named == reference, "{named}");
                (StatusCode::NO_CONTENT, String::new())
            }
            None => (StatusCode::NOT_FOUND, String::new()),
        },
        _ => (StatusCode::OK, String::new()),
    }
}
