//! Plays Telnyx: has the private key, signs as documented, sends real HTTP.

use narthex::webhooks::telnyx::sample;
use narthex::webhooks::telnyx::signature::{SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

use super::people::Answer;

/// The provider, towards one application.
#[derive(Clone)]
pub struct Provider {
    key: Arc<SigningKey>,
    url: String,
    client: reqwest::Client,
}

impl Provider {
    pub(super) fn generate() -> Self {
        let seed = narthex::sealing::generate_master_key().unwrap();
        Self {
            key: Arc::new(SigningKey::from_base64(&seed).unwrap()),
            url: String::new(),
            client: super::local_client().build().unwrap(),
        }
    }

    pub(super) fn public_key(&self) -> String {
        self.key.public_key().to_base64()
    }

    pub(super) fn towards(self, url: &str, client: &reqwest::Client) -> Self {
        Self { url: format!("{url}/webhooks/telnyx"), client: client.clone(), ..self }
    }

    /// The same provider, sending to another replica.
    pub fn at(&self, app: &super::TestApp) -> Self {
        self.clone().towards(&app.url, &app.client)
    }

    /// Signs these bytes.
    pub fn sign(&self, timestamp: i64, body: &[u8]) -> String {
        self.key.sign(timestamp, body)
    }

    /// Signs and sends an event, now.
    pub async fn send(&self, event: &Value) -> Answer {
        self.send_bytes(event.to_string().as_bytes()).await
    }

    /// Signs and sends these bytes, now.
    pub async fn send_bytes(&self, body: &[u8]) -> Answer {
        let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).timestamp();
        let signature = self.sign(now, body);
        self.send_raw(&[&signature], &[&now.to_string()], body).await
    }

    /// Sends bytes with any number of any headers.
    pub async fn send_raw(&self, signatures: &[&str], timestamps: &[&str], body: &[u8]) -> Answer {
        let mut request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body.to_vec());
        for signature in signatures {
            request = request.header(SIGNATURE_HEADER, *signature);
        }
        for timestamp in timestamps {
            request = request.header(TIMESTAMP_HEADER, *timestamp);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// A fresh SMS, as documented.
    pub fn sms(&self, from: &str, to: &str, text: &str) -> Value {
        let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
        let id = || Uuid::new_v4().to_string();
        sample::inbound_sms(&id(), &id(), from, to, text, now)
    }
}
