//! What becomes of messages that a tenant has sent, and events that are nobody's.

use narthex::webhooks::telnyx::sample;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{CONTACT, NUMBER, OTHER_NUMBER, church, conversations, messages, receipt};
use crate::support::{Staff, TestApp};

/// A message that the tenant has sent, as sending writes it. Returns the provider's id.
async fn sent(app: &TestApp, staff: &Staff) -> String {
    let id = Uuid::new_v4().to_string();
    let sql = format!(
        "INSERT INTO conversations (id, contact_number, phone_number, last_message_at, last_message_preview, created_at)
         VALUES (gen_random_uuid(), '{CONTACT}', '{NUMBER}', now(), 'ready', now());
         INSERT INTO conversation_messages (id, conversation_id, direction, body, status, segments,
                                            provider_message_id, occurred_at, created_at)
         SELECT gen_random_uuid(), id, 'outbound', 'ready', 'queued', 1, '{id}', now(), now() FROM conversations"
    );
    app.cluster.execute(&staff.database(), &sql).await;
    id
}

/// A report on that message, by the name of the event and the states of its recipients.
fn report(app: &TestApp, message: &str, name: &str, states: &[&str]) -> Value {
    let recipients: Vec<(&str, &str)> = states.iter().map(|state| (CONTACT, *state)).collect();
    let event = Uuid::new_v4().to_string();
    sample::delivery(name, &event, message, NUMBER, &recipients, app.clock.now())
}

async fn state(staff: &Staff) -> (Value, Value) {
    let message = &messages(staff, &conversations(staff).await[0]).await[0];
    (message["status"].clone(), message["error"].clone())
}

/// Each report is the name of the event without its `message.`, then the states of the recipients.
#[rstest]
#[case::sent(&["sent sent"], "sent", None)]
#[case::in_order(&["sent sent", "finalized delivered"], "delivered", None)]
#[case::in_the_other_order(&["finalized delivered", "sent sent"], "delivered", None)]
#[case::failed(&["finalized delivery_failed"], "delivery_failed", Some("40008 Undeliverable"))]
#[case::a_late_sent_hides_no_failure(
    &["finalized delivery_failed", "sent sent"], "delivery_failed", Some("40008 Undeliverable")
)]
#[case::one_of_two_failed(
    &["finalized delivered delivery_failed"], "delivery_failed", Some("40008 Undeliverable")
)]
#[case::nobody(&["finalized"], "queued", None)]
#[case::a_state_unknown_to_us(&["finalized vaporized"], "queued", None)]
#[tokio::test]
async fn a_message_moves_forward_whatever_the_order(
    #[case] reports: &[&str],
    #[case] status: &str,
    #[case] error: Option<&str>,
) {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let message = sent(&app, &staff).await;
    for words in reports {
        let (name, states) = words.split_once(' ').unwrap_or((words, ""));
        let states: Vec<&str> = states.split_whitespace().collect();
        let report = report(&app, &message, &format!("message.{name}"), &states);
        assert_eq!(receipt(app.provider.send(&report).await), "accepted");
        assert_eq!(receipt(app.provider.send(&report).await), "duplicate");
    }
    assert_eq!(state(&staff).await, (json!(status), json!(error)));
}

#[tokio::test]
async fn reports_at_once_end_in_the_last_state() {
    let app = TestApp::start_with(super::patient()).await;
    let staff = church(&app, NUMBER).await;
    let message = sent(&app, &staff).await;
    let reports: Vec<Value> = (0..20)
        .map(|i| match i {
            7 => report(&app, &message, "message.finalized", &["delivered"]),
            _ => report(&app, &message, "message.sent", &["sent"]),
        })
        .collect();
    for answer in futures_util::future::join_all(reports.iter().map(|r| app.provider.send(r))).await
    {
        assert_eq!(receipt(answer), "accepted");
    }
    assert_eq!(state(&staff).await, (json!("delivered"), Value::Null));
}

#[tokio::test]
async fn a_report_on_a_message_that_nobody_sent_is_ignored() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let before = app.cluster.contents(&staff.database()).await;
    let unknown = report(&app, "no-such-message", "message.finalized", &["delivered"]);
    assert_eq!(receipt(app.provider.send(&unknown).await), "ignored");
    assert_eq!(before, app.cluster.contents(&staff.database()).await);
}

#[tokio::test]
async fn a_report_changes_no_message_of_another_tenant() {
    let app = TestApp::start().await;
    let a = church(&app, NUMBER).await;
    church(&app, OTHER_NUMBER).await;
    let message = sent(&app, &a).await;
    let mut foreign = report(&app, &message, "message.finalized", &["delivered"]);
    foreign["data"]["payload"]["from"]["phone_number"] = json!(OTHER_NUMBER);
    assert_eq!(receipt(app.provider.send(&foreign).await), "ignored");
    assert_eq!(state(&a).await, (json!("queued"), Value::Null));
}

#[tokio::test]
async fn a_report_does_not_move_a_message_that_came_in() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let sms = app.provider.sms(CONTACT, NUMBER, "Hello");
    app.provider.send(&sms).await.expect(200);
    let id = sms["data"]["payload"]["id"].as_str().unwrap();
    let report = report(&app, id, "message.finalized", &["delivered"]);
    assert_eq!(receipt(app.provider.send(&report).await), "ignored");
    assert_eq!(state(&staff).await, (json!("received"), Value::Null));
}

fn envelope(event_type: &str, payload: Value) -> Value {
    json!({
        "data": {
            "event_type": event_type, "id": Uuid::new_v4(), "record_type": "event",
            "occurred_at": "2026-01-02T10:00:00.000+00:00", "payload": payload,
        },
        "meta": { "attempt": 1, "delivered_to": "https://gateway.example.test/webhooks/telnyx" },
    })
}

#[tokio::test]
async fn events_that_are_no_concern_of_ours_are_ignored() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let everything = async || {
        [
            app.cluster.contents(&app.registry_database).await,
            app.cluster.contents(&staff.database()).await,
        ]
    };
    let before = everything().await;
    for event in [
        envelope(
            "10dlc.campaign.update",
            json!({
                "type": "MNO_REVIEW", "campaignId": "751c6a5c-0000-4000-8000-000000000021",
                "status": "REJECTED", "description": "made-up reason",
            }),
        ),
        envelope("10dlc.brand.update", json!({"type": "REGISTRATION", "status": "failed"})),
        envelope("10dlc.phone_number.update", json!({"type": "ASSIGNMENT", "phoneNumber": NUMBER})),
        envelope("hologram.received", json!({"to": [{"phone_number": NUMBER}]})),
        envelope("call.initiated", Value::Null),
        json!({
            "record_type": "link_clicked", "url": "https://example.test", "to": NUMBER,
            "message_id": Uuid::nil(), "time_clicked": "2026-01-02T10:00:00Z",
        }),
        envelope("message.received", json!({"direction": "outbound"})),
    ] {
        assert_eq!(receipt(app.provider.send(&event).await), "ignored", "{event}");
    }
    assert_eq!(before, everything().await);
}
