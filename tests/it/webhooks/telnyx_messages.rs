//! What people write to a tenant's numbers, and where it stands then.

use chrono::TimeDelta;
use futures_util::future::join_all;
use narthex::webhooks::telnyx::event::Media;
use narthex::webhooks::telnyx::sample::{self, MmsContent};
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{CONTACT, NUMBER, OTHER_NUMBER, church, conversations, messages, patient, receipt};
use super::{sms_at, texts};
use crate::support::TestApp;

/// A picture message to several numbers.
fn mms(app: &TestApp, to: &[&str], text: &str, media: &[Media]) -> Value {
    let id = || Uuid::new_v4().to_string();
    let content = MmsContent { subject: None, text, media };
    sample::inbound_mms(&id(), &id(), CONTACT, to, &[], content, app.clock.now())
}

fn picture() -> Media {
    Media {
        url: "https://media.example.test/a.png".to_owned(),
        content_type: Some("image/png".to_owned()),
        size: Some(102_400),
        sha256: Some("7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730".to_owned()),
    }
}

#[tokio::test]
async fn an_sms_opens_a_conversation_with_the_member_who_wrote_it() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let member = staff.add_member("Ada", CONTACT).await;
    let event = app.provider.sms(CONTACT, NUMBER, "Is there a service on Sunday?");
    assert_eq!(receipt(app.provider.send(&event).await), "accepted");

    let [conversation] = &conversations(&staff).await[..] else { panic!("not one conversation") };
    assert_eq!(conversation["contact_number"], CONTACT);
    assert_eq!(conversation["phone_number"], NUMBER);
    assert_eq!(conversation["member_id"], member["id"]);
    assert_eq!(conversation["status"], "open");
    assert_eq!(conversation["unread_count"], 1);
    assert_eq!(conversation["last_message_preview"], "Is there a service on Sunday?");
    let [message] = &messages(&staff, conversation).await[..] else { panic!("not one message") };
    assert_eq!(message["direction"], "inbound");
    assert_eq!(message["status"], "received");
    assert_eq!(message["body"], "Is there a service on Sunday?");
    assert_eq!(message["media"], json!([]));
    assert_eq!(message["segments"], 1);
    assert_eq!(message["provider_message_id"], event["data"]["payload"]["id"]);
    assert_eq!(message["occurred_at"], conversation["last_message_at"]);
}

#[tokio::test]
async fn media_are_kept_as_they_came() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let card = Media {
        url: "https://media.example.test/b.vcf".to_owned(),
        content_type: None,
        size: None,
        sha256: None,
    };
    let media = [picture(), card];
    assert_eq!(receipt(app.provider.send(&mms(&app, &[NUMBER], "", &media)).await), "accepted");
    let conversation = &conversations(&staff).await[0];
    assert_eq!(conversation["last_message_preview"], "[attachment]");
    let kept = messages(&staff, conversation).await[0]["media"].clone();
    assert_eq!(kept, serde_json::to_value(&media).unwrap());
}

#[tokio::test]
async fn a_group_message_reaches_each_tenant_once() {
    let app = TestApp::start().await;
    let (a, b) = (church(&app, NUMBER).await, church(&app, OTHER_NUMBER).await);
    let event = mms(&app, &[NUMBER, "+442079460000", OTHER_NUMBER], "To all", &[picture()]);
    assert_eq!(receipt(app.provider.send(&event).await), "accepted");
    assert_eq!(receipt(app.provider.send(&event).await), "duplicate");
    for (staff, number) in [(&a, NUMBER), (&b, OTHER_NUMBER)] {
        assert_eq!(texts(staff).await, ["To all"]);
        assert_eq!(conversations(staff).await[0]["phone_number"], number);
    }
}

#[tokio::test]
async fn a_group_message_to_two_numbers_of_one_tenant_is_one_message() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    app.assign_number(OTHER_NUMBER, staff.tenant_id).await;
    let event = mms(&app, &[NUMBER, OTHER_NUMBER], "To all", &[]);
    assert_eq!(receipt(app.provider.send(&event).await), "accepted");
    assert_eq!(texts(&staff).await, ["To all"]);
}

#[tokio::test]
async fn a_closed_conversation_is_reopened_and_not_begun_anew() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    app.provider.send(&app.provider.sms(CONTACT, NUMBER, "one")).await.expect(200);
    app.cluster
        .execute(&staff.database(), "UPDATE conversations SET status = 'closed', unread_count = 0")
        .await;
    app.provider.send(&app.provider.sms(CONTACT, NUMBER, "two")).await.expect(200);
    let [conversation] = &conversations(&staff).await[..] else { panic!("not one conversation") };
    assert_eq!(conversation["status"], "open");
    assert_eq!(conversation["unread_count"], 1);
    assert_eq!(texts(&staff).await, ["one", "two"]);
}

#[tokio::test]
async fn a_conversation_learns_of_a_member_who_is_added_later() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    app.provider.send(&app.provider.sms(CONTACT, NUMBER, "one")).await.expect(200);
    assert_eq!(conversations(&staff).await[0]["member_id"], Value::Null);
    let member = staff.add_member("Ada", CONTACT).await;
    app.provider.send(&app.provider.sms(CONTACT, NUMBER, "two")).await.expect(200);
    assert_eq!(conversations(&staff).await[0]["member_id"], member["id"]);
}

#[tokio::test]
async fn each_pair_of_numbers_has_a_conversation_of_its_own() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    app.assign_number(OTHER_NUMBER, staff.tenant_id).await;
    for (from, to) in [(CONTACT, NUMBER), (CONTACT, OTHER_NUMBER), ("+13125550143", NUMBER)] {
        app.provider.send(&app.provider.sms(from, to, "Hello")).await.expect(200);
    }
    assert_eq!(conversations(&staff).await.len(), 3);
}

#[tokio::test]
async fn an_older_message_that_comes_late_does_not_stand_on_top() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let now = app.clock.now();
    app.provider.send(&sms_at(NUMBER, "newer", now)).await.expect(200);
    let newest = conversations(&staff).await[0]["last_message_at"].clone();
    app.provider.send(&sms_at(NUMBER, "older", now - TimeDelta::minutes(5))).await.expect(200);
    let conversation = &conversations(&staff).await[0];
    assert_eq!(conversation["last_message_at"], newest);
    assert_eq!(conversation["last_message_preview"], "newer");
    assert_eq!(conversation["unread_count"], 2);
    let bodies: Vec<Value> =
        messages(&staff, conversation).await.iter().map(|m| m["body"].clone()).collect();
    assert_eq!(bodies, ["newer", "older"]);
}

#[rstest]
#[case::nul("a\0b", "a\u{fffd}b", "a\u{fffd}b")]
#[case::emoji("\u{1f64f}\u{1f3fd}", "\u{1f64f}\u{1f3fd}", "\u{1f64f}\u{1f3fd}")]
#[case::sql(
    "'); DROP TABLE members; --",
    "'); DROP TABLE members; --",
    "'); DROP TABLE members; --"
)]
#[case::long(&"ж".repeat(1500), &"ж".repeat(1500), &"ж".repeat(140))]
#[tokio::test]
async fn any_text_can_be_kept(#[case] text: &str, #[case] body: &str, #[case] preview: &str) {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let event = app.provider.sms(CONTACT, NUMBER, text);
    assert_eq!(receipt(app.provider.send(&event).await), "accepted");
    assert_eq!(texts(&staff).await, [body]);
    assert_eq!(conversations(&staff).await[0]["last_message_preview"], preview);
}

#[rstest]
#[case::a_short_code("12345")]
#[case::a_name("INFO")]
#[tokio::test]
async fn a_sender_need_not_be_a_telephone(#[case] from: &str) {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    assert_eq!(receipt(app.provider.send(&app.provider.sms(from, NUMBER, "Hi")).await), "accepted");
    assert_eq!(conversations(&staff).await[0]["contact_number"], from);
}

#[tokio::test]
async fn a_hundred_deliveries_of_one_event_at_once_are_one_message() {
    let app = TestApp::start_with(patient()).await;
    let staff = church(&app, NUMBER).await;
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    let answers = join_all((0..100).map(|_| app.provider.send(&event))).await;
    let mut receipts: Vec<String> = answers.into_iter().map(receipt).collect();
    receipts.sort();
    assert_eq!(receipts[0], "accepted");
    assert!(receipts[1..].iter().all(|receipt| receipt == "duplicate"), "{receipts:?}");
    assert_eq!(texts(&staff).await, ["Hello"]);
    assert_eq!(conversations(&staff).await[0]["unread_count"], 1);
}

#[tokio::test]
async fn fifty_messages_at_once_share_one_new_conversation() {
    let app = TestApp::start_with(patient()).await;
    let staff = church(&app, NUMBER).await;
    let events: Vec<Value> =
        (0..50).map(|i| app.provider.sms(CONTACT, NUMBER, &format!("{i:02}"))).collect();
    for answer in join_all(events.iter().map(|event| app.provider.send(event))).await {
        assert_eq!(receipt(answer), "accepted");
    }
    let [conversation] = &conversations(&staff).await[..] else { panic!("not one conversation") };
    assert_eq!(conversation["unread_count"], 50);
    let expected: Vec<String> = (0..50).map(|i| format!("{i:02}")).collect();
    assert_eq!(texts(&staff).await, expected);
}

#[tokio::test]
async fn messages_of_several_tenants_at_once_never_mix() {
    let app = TestApp::start_with(patient()).await;
    let numbers = ["+13125550111", "+13125550122", "+13125550133", "+13125550144"];
    let mut churches = Vec::new();
    for number in numbers {
        churches.push((number, church(&app, number).await));
    }
    let events: Vec<Value> = (0..20)
        .flat_map(|i| numbers.map(|to| app.provider.sms(CONTACT, to, &format!("{to} {i:02}"))))
        .collect();
    for answer in join_all(events.iter().map(|event| app.provider.send(event))).await {
        assert_eq!(receipt(answer), "accepted");
    }
    for (number, staff) in &churches {
        let expected: Vec<String> = (0..20).map(|i| format!("{number} {i:02}")).collect();
        assert_eq!(texts(staff).await, expected);
    }
}
