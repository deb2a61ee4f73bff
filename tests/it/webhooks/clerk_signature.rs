//! Who may tell us something of Clerk's: Clerk, now, with this very body.

use narthex::standard_webhooks::Secret;
use rstest::rstest;
use serde_json::json;

use super::clerk_world::{AT, World, member, told};
use crate::support::{CLERK_SECRET, TestApp};

/// A delivery that is good as it stands, for each case to spoil.
struct Delivery {
    id: String,
    now: i64,
    ids: Vec<String>,
    timestamps: Vec<String>,
    signatures: Vec<String>,
    body: Vec<u8>,
}

impl Delivery {
    fn new(now: i64) -> Self {
        let body = told("user.created", &member("ada"), AT).to_string().into_bytes();
        let id = "msg_test0001".to_owned();
        let signatures = vec![sign(CLERK_SECRET, &id, now, &body)];
        Self { ids: vec![id.clone()], timestamps: vec![now.to_string()], id, now, signatures, body }
    }

    fn at(mut self, now: i64) -> Self {
        self.timestamps = vec![now.to_string()];
        self.signatures = vec![sign(CLERK_SECRET, &self.id, now, &self.body)];
        self
    }
}

fn sign(secret: &str, id: &str, now: i64, body: &[u8]) -> String {
    Secret::parse(secret).unwrap().sign(id, now, body)
}

type Change = fn(Delivery) -> Delivery;

#[rstest]
#[case::body_changed(|mut d: Delivery| { d.body[20] ^= 1; d })]
#[case::body_reserialised(|mut d: Delivery| { d.body = [b" ".as_slice(), &d.body].concat(); d })]
#[case::other_timestamp(|mut d: Delivery| { d.timestamps = vec![(d.now - 1).to_string()]; d })]
#[case::other_id(|mut d: Delivery| { d.ids = vec!["msg_other".to_owned()]; d })]
#[case::too_old(|d: Delivery| { let now = d.now; d.at(now - 310) })]
#[case::too_new(|d: Delivery| { let now = d.now; d.at(now + 310) })]
#[case::no_id(|mut d: Delivery| { d.ids.clear(); d })]
#[case::no_timestamp(|mut d: Delivery| { d.timestamps.clear(); d })]
#[case::no_signature(|mut d: Delivery| { d.signatures.clear(); d })]
#[case::empty_signature(|mut d: Delivery| { d.signatures = vec![String::new()]; d })]
#[case::repeated_signature(|mut d: Delivery| { d.signatures.push(d.signatures[0].clone()); d })]
#[case::repeated_id(|mut d: Delivery| { d.ids.push(d.id.clone()); d })]
#[case::timestamp_with_a_plus(|mut d: Delivery| { d.timestamps = vec![format!("+{}", d.now)]; d })]
#[case::another_secret(|mut d: Delivery| {
    d.signatures = vec![sign("whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3", &d.id, d.now, &d.body)]; d
})]
#[case::unknown_version(|mut d: Delivery| { d.signatures = vec![d.signatures[0].replace("v1,", "v2,")]; d })]
#[tokio::test]
async fn what_clerk_has_not_signed_is_refused_and_leaves_nothing(#[case] change: Change) {
    let app = TestApp::start().await;
    let delivery = change(Delivery::new(app.clock.now().timestamp()));
    send(&app, &delivery).await.expect_problem(401, "invalid_signature");
    assert_eq!(app.registry_count("SELECT count(*) FROM webhook_deliveries").await, 0);
}

async fn send(app: &TestApp, delivery: &Delivery) -> crate::support::Answer {
    let texts = |values: &[String]| values.to_vec();
    let (ids, timestamps, signatures) =
        (texts(&delivery.ids), texts(&delivery.timestamps), texts(&delivery.signatures));
    fn borrowed(values: &[String]) -> Vec<&str> {
        values.iter().map(String::as_str).collect()
    }
    app.clerk_sends_raw(
        &borrowed(&ids),
        &borrowed(&timestamps),
        &borrowed(&signatures),
        &delivery.body,
    )
    .await
}

#[rstest]
#[case::as_it_is(|d: Delivery| d)]
#[case::nearly_too_old(|d: Delivery| { let now = d.now; d.at(now - 290) })]
#[case::second_of_two_signatures(|mut d: Delivery| {
    let other = sign("whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3", &d.id, d.now, &d.body);
    d.signatures = vec![format!("{other} {}", d.signatures[0])];
    d
})]
#[tokio::test]
async fn what_clerk_has_signed_is_taken(#[case] change: Change) {
    let app = TestApp::start().await;
    let delivery = change(Delivery::new(app.clock.now().timestamp()));
    assert_eq!(send(&app, &delivery).await.expect(200), json!({"status": "accepted"}));
}

#[tokio::test]
async fn without_a_secret_nothing_is_believed() {
    let app = TestApp::start_with(Box::new(|settings| settings.clerk.webhook_secret = None)).await;
    let delivery = Delivery::new(app.clock.now().timestamp());
    send(&app, &delivery).await.expect_problem(401, "invalid_signature");
}

#[rstest]
#[case(b"")]
#[case(b"[]")]
#[case(&[0xff, 0xfe])]
#[case(br#"{"type":"user.created","data":{}}"#)]
#[tokio::test]
async fn a_signed_body_that_is_no_event_is_told_so(#[case] body: &[u8]) {
    let app = TestApp::start().await;
    let now = app.clock.now().timestamp();
    let signature = sign(CLERK_SECRET, "msg_1", now, body);
    let answer = app.clerk_sends_raw(&["msg_1"], &[&now.to_string()], &[&signature], body).await;
    answer.expect_problem(400, "malformed_event");
}

#[tokio::test]
async fn a_long_body_is_taken_and_a_longer_one_is_not_read() {
    let app = TestApp::start().await;
    let mut event = told("user.created", &member("ada"), AT);
    event["data"]["public_metadata"] = json!("x".repeat(900_000));
    app.clerk_sends(&event).await.expect(200);
    event["data"]["public_metadata"] = json!("x".repeat(1_100_000));
    app.clerk_sends(&event).await.expect_problem(413, "body_too_large");
    assert_eq!(app.registry_count("SELECT count(*) FROM webhook_deliveries").await, 1);
}

#[tokio::test]
async fn an_event_that_does_not_concern_us_is_not_recorded() {
    let world = World::start().await;
    let event = json!({"type": "session.created", "data": {"id": "sess_1"}, "object": "event"});
    let receipt = world.app.clerk_sends(&event).await.expect(200);
    assert_eq!(receipt, json!({"status": "ignored"}));
    assert_eq!(world.app.registry_count("SELECT count(*) FROM webhook_deliveries").await, 0);
}
