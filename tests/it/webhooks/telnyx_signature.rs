//! Who may put something into a tenant's database: the provider, now, with this very body.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use chrono::{DateTime, TimeDelta, Utc};
use ring::signature::Ed25519KeyPair;
use rstest::rstest;
use serde_json::{Value, json};

use super::{CONTACT, NUMBER, church, receipt};
use crate::support::{Answer, Staff, TestApp};

/// Published test vector: the key pair of the bytes 0 to 31.
const PUBLIC_KEY: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const VECTOR_BODY: &[u8] =
    br#"{"data":{"event_type":"message.received","id":"11111111-2222-4333-8444-555555555555"}}"#;
const VECTOR_SIGNATURE: &str =
    "8rlLJehfXCdzAtnH1/E5WgJGVAyJZmPZx8BFbhoPKtKrMGy8/+pi5XuKG5aseHJsB6VjSHT+Wwwc9SRZvuU0Cw==";

/// The signature as bytes, under the vector's key; the timestamp may be any text.
fn sign(timestamp: &str, body: &[u8]) -> [u8; 64] {
    let seed: [u8; 32] = std::array::from_fn(|i| i as u8);
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let signed = [timestamp.as_bytes(), b"|", body].concat();
    pair.sign(&signed).as_ref().try_into().unwrap()
}

/// An application that believes the vector's key, and a tenant with a number.
async fn start() -> (TestApp, Staff) {
    let believe = |settings: &mut narthex::configuration::Settings| {
        settings.telnyx.public_key = Some(PUBLIC_KEY.to_owned());
    };
    let app = TestApp::start_with(Box::new(believe)).await;
    let staff = church(&app, NUMBER).await;
    (app, staff)
}

/// A delivery that is good as it stands, for each case to spoil.
struct Delivery {
    now: i64,
    signatures: Vec<String>,
    timestamps: Vec<String>,
    body: Vec<u8>,
}

impl Delivery {
    fn of(app: &TestApp, body: Vec<u8>) -> Self {
        let now = app.clock.now().timestamp();
        let mut delivery = Self { now, signatures: vec![], timestamps: vec![], body };
        delivery.sign_as(&now.to_string());
        delivery
    }

    fn sms(app: &TestApp) -> Self {
        Self::of(app, app.provider.sms(CONTACT, NUMBER, "Hello").to_string().into_bytes())
    }

    /// Signs this text as the timestamp, and sends it so.
    fn sign_as(&mut self, timestamp: &str) {
        self.timestamps = vec![timestamp.to_owned()];
        self.signatures = vec![STANDARD.encode(sign(timestamp, &self.body))];
    }

    fn bytes(&self) -> [u8; 64] {
        sign(&self.timestamps[0], &self.body)
    }

    async fn send(&self, app: &TestApp) -> Answer {
        let texts = |texts: &'_ [String]| texts.iter().map(String::clone).collect::<Vec<_>>();
        let (signatures, timestamps) = (texts(&self.signatures), texts(&self.timestamps));
        let signatures: Vec<&str> = signatures.iter().map(String::as_str).collect();
        let timestamps: Vec<&str> = timestamps.iter().map(String::as_str).collect();
        app.provider.send_raw(&signatures, &timestamps, &self.body).await
    }
}

/// What a refusal must leave as it was.
async fn everything(app: &TestApp, staff: &Staff) -> [Vec<String>; 2] {
    [
        app.cluster.contents(&app.registry_database).await,
        app.cluster.contents(&staff.database()).await,
    ]
}

#[tokio::test]
async fn a_good_delivery_is_accepted_and_the_same_again_is_a_duplicate() {
    let (app, staff) = start().await;
    let delivery = Delivery::sms(&app);
    assert_eq!(receipt(delivery.send(&app).await), "accepted");
    let before = everything(&app, &staff).await;
    assert_eq!(receipt(delivery.send(&app).await), "duplicate");
    assert_eq!(before, everything(&app, &staff).await);
}

/// The clock runs while a request is under way, so that the cases keep away from the very edge where they must.
#[rstest]
#[case::old(-290)]
#[case::ahead(300)]
#[tokio::test]
async fn a_delivery_within_the_tolerance_is_accepted(#[case] seconds: i64) {
    let (app, _staff) = start().await;
    let mut delivery = Delivery::sms(&app);
    delivery.sign_as(&(delivery.now + seconds).to_string());
    assert_eq!(receipt(delivery.send(&app).await), "accepted");
}

/// White space around the value of a header is HTTP's, not the value's.
#[rstest]
#[case(" ", "")]
#[case("", "\t ")]
#[tokio::test]
async fn white_space_around_a_header_does_not_matter(#[case] before: &str, #[case] after: &str) {
    let (app, _staff) = start().await;
    let mut delivery = Delivery::sms(&app);
    delivery.timestamps[0] = format!("{before}{}{after}", delivery.timestamps[0]);
    delivery.signatures[0] = format!("{before}{}{after}", delivery.signatures[0]);
    assert_eq!(receipt(delivery.send(&app).await), "accepted");
}

type Spoil = fn(&mut Delivery);

/// Ways to spoil a good delivery.
const SPOILT: &[(&str, Spoil)] = &[
    ("one byte of the body changed", |d| {
        d.body[20] ^= 1;
    }),
    ("a byte more", |d| d.body.push(b'\n')),
    ("the body written anew", |d| {
        let event: Value = serde_json::from_slice(&d.body).unwrap();
        d.body = serde_json::to_vec_pretty(&event).unwrap();
    }),
    ("an empty body under an old signature", |d| d.body.clear()),
    ("another timestamp under the old signature", |d| {
        d.timestamps[0] = (d.now - 1).to_string();
    }),
    ("too old", |d| d.sign_as(&(d.now - 301).to_string())),
    ("too far ahead", |d| d.sign_as(&(d.now + 330).to_string())),
    ("in milliseconds", |d| d.sign_as(&(d.now * 1000).to_string())),
    ("no signature", |d| d.signatures.clear()),
    ("no timestamp", |d| d.timestamps.clear()),
    ("neither", |d| {
        d.signatures.clear();
        d.timestamps.clear();
    }),
    ("an empty signature", |d| d.signatures[0].clear()),
    ("an empty timestamp", |d| d.sign_as("")),
    ("the same signature twice", |d| d.signatures.push(d.signatures[0].clone())),
    ("only the second signature right", |d| {
        d.signatures.insert(0, STANDARD.encode([7; 64]));
    }),
    ("only the first signature right", |d| {
        d.signatures.push(STANDARD.encode([7; 64]));
    }),
    ("two signatures in one header", |d| {
        d.signatures[0] = format!("{0}, {0}", d.signatures[0]);
    }),
    ("the same timestamp twice", |d| d.timestamps.push(d.timestamps[0].clone())),
    ("two timestamps", |d| d.timestamps.push((d.now - 1).to_string())),
    ("a timestamp with a plus", |d| d.sign_as(&format!("+{}", d.now))),
    ("a negative timestamp", |d| d.sign_as(&format!("-{}", d.now))),
    ("a timestamp with a space in it", |d| {
        let text = d.now.to_string();
        d.sign_as(&format!("{} {}", &text[..4], &text[4..]));
    }),
    ("a fraction", |d| d.sign_as(&format!("{}.0", d.now))),
    ("an exponent", |d| d.sign_as("17e8")),
    ("no number", |d| d.sign_as("now")),
    ("a date", |d| d.sign_as("2026-01-01T00:00:00Z")),
    ("a number beyond 64 bits", |d| d.sign_as(&"9".repeat(30))),
    ("a signature that is not base64", |d| d.signatures[0] = "!".repeat(88)),
    ("a signature in hexadecimal", |d| d.signatures[0] = hex::encode(d.bytes())),
    ("a signature without padding", |d| {
        d.signatures[0] = STANDARD_NO_PAD.encode(d.bytes());
    }),
    ("a signature that is too short", |d| {
        d.signatures[0] = STANDARD.encode(&d.bytes()[..63]);
    }),
    ("a signature that is too long", |d| {
        d.signatures[0] = STANDARD.encode([&d.bytes()[..], b"x"].concat());
    }),
    ("a signature of zeros", |d| d.signatures[0] = STANDARD.encode([0; 64])),
];

#[tokio::test]
async fn a_delivery_that_is_not_the_providers_is_refused_and_writes_nothing() {
    let (app, staff) = start().await;
    let before = everything(&app, &staff).await;
    for (how, spoil) in SPOILT {
        let mut delivery = Delivery::sms(&app);
        spoil(&mut delivery);
        let answer = delivery.send(&app).await;
        assert_eq!((answer.status, answer.code()), (401, "invalid_signature"), "{how}");
        answer.expect_problem(401, "invalid_signature");
    }
    assert_eq!(before, everything(&app, &staff).await);
}

/// The alphabets differ in two characters: the signature must have one of them to tell.
#[tokio::test]
async fn a_signature_in_the_alphabet_of_urls_is_refused() {
    let (app, _staff) = start().await;
    let mut delivery = Delivery::sms(&app);
    while !delivery.signatures[0].contains(['+', '/']) {
        delivery.body.push(b' ');
        delivery.sign_as(&delivery.now.to_string());
    }
    delivery.signatures[0] = URL_SAFE.encode(delivery.bytes());
    delivery.send(&app).await.expect_problem(401, "invalid_signature");
}

#[tokio::test]
async fn the_signature_of_another_key_is_refused() {
    let (app, staff) = start().await;
    let before = everything(&app, &staff).await;
    let event = app.provider.sms(CONTACT, NUMBER, "Send me money");
    // This provider has a key of its own, not the one that the application believes.
    app.provider.send(&event).await.expect_problem(401, "invalid_signature");
    assert_eq!(before, everything(&app, &staff).await);
}

#[tokio::test]
async fn without_a_configured_key_nothing_is_believed() {
    let app = TestApp::start_with(Box::new(|settings| settings.telnyx.public_key = None)).await;
    church(&app, NUMBER).await;
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    app.provider.send(&event).await.expect_problem(401, "invalid_signature");
}

fn altered(path: &str, value: Value) -> Vec<u8> {
    let now = DateTime::<Utc>::from(std::time::SystemTime::now());
    let mut event = super::sms_at(NUMBER, "Hello", now);
    *event.pointer_mut(path).unwrap() = value;
    event.to_string().into_bytes()
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_is_malformed_and_writes_nothing() {
    let (app, staff) = start().await;
    let before = everything(&app, &staff).await;
    let bodies: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("not json", b"{\"data\":".to_vec()),
        ("two documents", b"{} {}".to_vec()),
        ("a list", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("nested too deeply", "[".repeat(100_000).into_bytes()),
    ];
    for (what, body) in bodies {
        let answer = Delivery::of(&app, body).send(&app).await;
        assert_eq!((answer.status, answer.code()), (400, "malformed_event"), "{what}");
    }
    assert_eq!(before, everything(&app, &staff).await);
}

/// They are verified on another thread than small ones.
#[tokio::test]
async fn large_bodies_are_verified_and_read_as_small_ones_are() {
    let (app, staff) = start().await;
    let large = || altered("/data/payload/text", json!("x".repeat(900 * 1024)));
    let before = everything(&app, &staff).await;
    let mut forged = Delivery::of(&app, large());
    forged.body[700 * 1024] = b'y';
    forged.send(&app).await.expect_problem(401, "invalid_signature");
    let no_event = Delivery::of(&app, "[".repeat(900 * 1024).into_bytes());
    no_event.send(&app).await.expect_problem(400, "malformed_event");
    assert_eq!(before, everything(&app, &staff).await);
    let delivery = Delivery::of(&app, large());
    assert_eq!(receipt(delivery.send(&app).await), "accepted");
    assert_eq!(receipt(delivery.send(&app).await), "duplicate");
}

#[tokio::test]
async fn a_body_of_two_mebibytes_is_too_large() {
    let (app, staff) = start().await;
    let before = everything(&app, &staff).await;
    let body = altered("/data/payload/text", json!("x".repeat(2 * 1024 * 1024)));
    Delivery::of(&app, body).send(&app).await.expect_problem(413, "body_too_large");
    assert_eq!(before, everything(&app, &staff).await);
}

#[rstest]
#[case::on_time(0, VECTOR_BODY, true)]
#[case::just_in_time(290, VECTOR_BODY, true)]
#[case::too_late(301, VECTOR_BODY, false)]
#[case::too_early(-330, VECTOR_BODY, false)]
#[case::another_body(0, b"{}", false)]
#[tokio::test]
async fn the_published_vector_is_believed_at_its_time(
    #[case] seconds_later: i64,
    #[case] body: &[u8],
    #[case] is_believed: bool,
) {
    let (app, _staff) = start().await;
    let sent_at: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    app.clock.advance(sent_at + TimeDelta::seconds(seconds_later) - app.clock.now());
    // It is a message without content: what is kept for a person has been believed.
    let answer = app.provider.send_raw(&[VECTOR_SIGNATURE], &["1767225600"], body).await;
    match is_believed {
        true => assert_eq!(receipt(answer), "parked"),
        false => answer.expect_problem(401, "invalid_signature"),
    }
}
