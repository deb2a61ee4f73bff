//! Plays Clerk: signs and sends webhooks as Svix does, signs session tokens, and serves the keys of these, or does not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use narthex::configuration::Settings;
use narthex::standard_webhooks::Secret;
use narthex::webhooks::clerk::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use ring::rand::SystemRandom;
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::people::{Answer, unique};
use super::{TestApp, TestSettings};

/// The secret that every test application knows, unless its settings say other.
pub const CLERK_SECRET: &str = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
/// `azp` that is believed.
pub const CLERK_PARTY: &str = "https://app.example.test";

/// An event under this id, signed at a moment.
pub fn clerk_delivery(
    client: &reqwest::Client,
    url: &str,
    id: &str,
    now: i64,
    event: &Value,
) -> reqwest::RequestBuilder {
    let body = event.to_string();
    let signature = Secret::parse(CLERK_SECRET).unwrap().sign(id, now, body.as_bytes());
    client
        .post(format!("{url}/webhooks/clerk"))
        .header(ID_HEADER, id)
        .header(TIMESTAMP_HEADER, now)
        .header(SIGNATURE_HEADER, signature)
        .body(body)
}

impl TestApp {
    /// Sends an event under an id that nothing has had.
    pub async fn clerk_sends(&self, event: &Value) -> Answer {
        self.clerk_delivers(&format!("msg_{}", unique()), event).await
    }

    /// Sends an event under this id, signed now.
    pub async fn clerk_delivers(&self, id: &str, event: &Value) -> Answer {
        let now = self.clock.now().timestamp();
        let request = clerk_delivery(&self.client, &self.url, id, now, event);
        Answer::of(request.send().await.unwrap()).await
    }

    /// Sends bytes with any number of any headers.
    pub async fn clerk_sends_raw(
        &self,
        ids: &[&str],
        timestamps: &[&str],
        signatures: &[&str],
        body: &[u8],
    ) -> Answer {
        let mut request = self.client.post(format!("{}/webhooks/clerk", self.url));
        for (name, values) in
            [(ID_HEADER, ids), (TIMESTAMP_HEADER, timestamps), (SIGNATURE_HEADER, signatures)]
        {
            for value in values {
                request = request.header(name, *value);
            }
        }
        Answer::of(request.body(body.to_vec()).send().await.unwrap()).await
    }
}

/// One of the keys that were made for tests.
pub struct ClerkKey {
    pub kid: &'static str,
    pair: RsaKeyPair,
}

impl ClerkKey {
    pub fn first() -> Self {
        Self::read("ins_first", include_str!("clerk_keys/first.pem"))
    }

    pub fn second() -> Self {
        Self::read("ins_second", include_str!("clerk_keys/second.pem"))
    }

    fn read(kid: &'static str, pem: &str) -> Self {
        let lines = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN"));
        let base64: String = lines.filter(|line| !line.starts_with("-----")).collect();
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(base64).unwrap()).unwrap();
        Self { kid, pair }
    }

    /// As Clerk publishes it.
    pub fn jwk(&self) -> Value {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({
            "use": "sig", "kty": "RSA", "kid": self.kid, "alg": "RS256",
            "n": number(&public.n),
            "e": number(&public.e),
        })
    }

    /// The public key, as what somebody may take for the secret of an HMAC.
    pub fn public_bytes(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// A token with this header and these claims.
    pub fn token_of(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token with the usual header.
    pub fn token(&self, claims: &Value) -> String {
        let header =
            json!({"alg": "RS256", "typ": "JWT", "kid": self.kid, "cat": "cl_B7d4PD111AAA"});
        self.token_of(&header, claims)
    }
}

/// How the keys are asked for, and what is answered.
#[derive(Clone)]
enum Behaviour {
    Answers(String, String),
    /// Takes the question and says nothing.
    Silent,
}

/// Serves keys over HTTP, and counts.
pub struct ClerkInstance {
    /// `iss` of its tokens.
    pub issuer: String,
    asked: Arc<AtomicUsize>,
    behaviour: Arc<Mutex<Behaviour>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for ClerkInstance {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl ClerkInstance {
    /// Serves these keys.
    pub async fn with(keys: &[&ClerkKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let behaviour = Arc::new(Mutex::new(Behaviour::Silent));
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, manners) = (asked.clone(), behaviour.clone());
        let serving = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (counter, manners) = (counter.clone(), manners.clone());
                tokio::spawn(async move {
                    let mut question = vec![0; 4096];
                    let length = socket.read(&mut question).await.unwrap_or(0);
                    assert!(question[..length].starts_with(b"GET /.well-known/jwks.json HTTP/1.1"));
                    counter.fetch_add(1, Ordering::SeqCst);
                    let behaviour = manners.lock().unwrap().clone();
                    let Behaviour::Answers(status, body) = behaviour else {
                        return std::future::pending().await;
                    };
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                    );
                    let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        let instance = Self { issuer, asked, behaviour, serving };
        instance.serve(keys);
        instance
    }

    /// From now on these keys.
    pub fn serve(&self, keys: &[&ClerkKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.answer("200 OK", &json!({"keys": keys}).to_string());
    }

    /// From now on this answer.
    pub fn answer(&self, status: &str, body: &str) {
        *self.behaviour.lock().unwrap() = Behaviour::Answers(status.to_owned(), body.to_owned());
    }

    /// From now on no answer.
    pub fn fall_silent(&self) {
        *self.behaviour.lock().unwrap() = Behaviour::Silent;
    }

    /// How often the keys were asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Settings of an application that believes this instance.
    pub fn believed(&self) -> TestSettings {
        let issuer = self.issuer.clone();
        Box::new(move |settings: &mut Settings| {
            settings.clerk.issuer = Some(issuer);
            settings.clerk.authorized_parties = vec![CLERK_PARTY.to_owned()];
        })
    }

    /// The claims of a token of version 2.
    pub fn claims(&self, app: &TestApp, organization: &str, user: &str) -> Value {
        let now = app.clock.now().timestamp();
        json!({
            "v": 2, "iss": self.issuer, "sub": user, "sid": format!("sess_{user}"), "azp": CLERK_PARTY,
            "iat": now, "nbf": now - 10, "exp": now + 60, "jti": unique(), "fva": [3, -1], "sts": "active",
            "pla": "o:pro", "fea": "o:dashboard",
            "o": {"id": organization, "slg": "blue-cafe", "rol": "admin", "per": "read", "fpm": "3"},
        })
    }
}
