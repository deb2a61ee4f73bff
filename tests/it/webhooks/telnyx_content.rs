//! A genuine event is never refused for its content: one message is stored once, what can be read is stored, and what
//! cannot be read is kept for a person.

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use narthex::registry::inbox::parked_events::{self, Status};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{CONTACT, NUMBER, OTHER_NUMBER, church, conversations, messages, receipt, texts};
use crate::support::{TestApp, eventually};

/// The same event with another value at a path.
fn with(event: &Value, path: &str, value: Value) -> Value {
    let mut event = event.clone();
    *event.pointer_mut(path).unwrap() = value;
    event
}

/// The same message in an event of another id.
fn again(event: &Value) -> Value {
    with(event, "/data/id", json!(Uuid::new_v4()))
}

#[tokio::test]
async fn a_message_under_several_event_ids_is_stored_once_with_each_of_its_tenants() {
    let app = TestApp::start_with(super::patient()).await;
    let (a, b) = (church(&app, NUMBER).await, church(&app, OTHER_NUMBER).await);
    let mut event = app.provider.sms(CONTACT, NUMBER, "Hello");
    event["data"]["payload"]["cc"] = json!([{"phone_number": OTHER_NUMBER}]);
    let deliveries: Vec<Value> = (0..20).map(|_| again(&event)).collect();
    let answers = join_all(deliveries.iter().map(|event| app.provider.send(event))).await;
    let mut receipts: Vec<String> = answers.into_iter().map(receipt).collect();
    receipts.sort();
    // Two of them can each be the first with one of the tenants.
    assert_eq!(receipts[0], "accepted");
    assert!(receipts[2..].iter().all(|receipt| receipt == "duplicate"), "{receipts:?}");
    assert_eq!(receipt(app.provider.send(&again(&event)).await), "duplicate");
    for staff in [&a, &b] {
        assert_eq!(texts(staff).await, ["Hello"]);
        assert_eq!(conversations(staff).await[0]["unread_count"], 1);
    }
}

#[tokio::test]
async fn a_message_that_waits_under_two_event_ids_is_delivered_once() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    for event in [&event, &again(&event)] {
        assert_eq!(receipt(app.provider.send(event).await), "parked");
    }
    app.assign_number(NUMBER, staff.tenant_id).await;
    let waiting = "SELECT count(*) FROM parked_events";
    eventually("nothing waits", async || app.registry_count(waiting).await == 0).await;
    assert_eq!(texts(&staff).await, ["Hello"]);
}

/// An earlier version recorded the event's id alone.
#[tokio::test]
async fn an_event_that_an_earlier_version_has_stored_stays_a_duplicate() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    assert_eq!(receipt(app.provider.send(&event).await), "accepted");
    let id = event["data"]["id"].as_str().unwrap();
    let forget = format!("DELETE FROM inbound_events WHERE provider_event_id <> '{id}'");
    for again in [event.clone(), again(&event)] {
        app.cluster.execute(&staff.database(), &forget).await;
        assert_eq!(receipt(app.provider.send(&again).await), "duplicate");
    }
    assert_eq!(texts(&staff).await, ["Hello"]);
}

#[tokio::test]
async fn a_signed_sms_is_stored_whatever_else_its_bytes_hold() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    // What stands in the body in place of a word, and the text that is stored.
    let cases: [(&str, &[u8], &str); 9] = [
        ("half a surrogate pair in the text", br#""a \ud83d b""#, "a \u{fffd} b"),
        ("the other half", br#""a \ude4f""#, "a \u{fffd}"),
        ("halves in the wrong order", br#""\ude4f\ud83d""#, "\u{fffd}\u{fffd}"),
        ("a half before another escape", br#""\ud83d\n""#, "\u{fffd}\n"),
        ("a whole pair beside a half", br#""\ud83d\ude4f\ud83d""#, "\u{1f64f}\u{fffd}"),
        ("a bad byte in the text", b"\"a \xff b\"", "a \u{fffd} b"),
        ("a line break in the text", b"\"a\nb\"", "a\nb"),
        ("an escape that JSON does not have", br#""a\'b\u12""#, "a'b\u{fffd}"),
        ("a number in place of a text", b"7", "7"),
    ];
    let mut expected = Vec::new();
    for (what, text, stored) in cases {
        let event = app.provider.sms(CONTACT, NUMBER, "TEXT").to_string();
        let body = replace(event.as_bytes(), b"\"TEXT\"", text);
        assert_eq!(receipt(app.provider.send_bytes(&body).await), "accepted", "{what}");
        assert_eq!(receipt(app.provider.send_bytes(&body).await), "duplicate", "{what}");
        expected.push(stored.to_owned());
    }
    let unread: [(&str, &[u8]); 6] = [
        ("a number beyond all bounds", b"1e400"),
        ("another one", b"-12E+9999"),
        ("half a surrogate pair", br#""\udfff""#),
        ("a bad byte", b"\"\xc3\x28\""),
        ("no number", b"NaN"),
        ("deep nesting", deep.as_bytes()),
    ];
    for (what, value) in unread {
        let mut event = app.provider.sms(CONTACT, NUMBER, what);
        event["data"]["payload"]["never_read"] = json!("HERE");
        let body = replace(event.to_string().as_bytes(), b"\"HERE\"", value);
        assert_eq!(receipt(app.provider.send_bytes(&body).await), "accepted", "{what}");
        expected.push(what.to_owned());
    }
    expected.sort();
    assert_eq!(texts(&staff).await, expected);
}

fn replace(body: &[u8], word: &[u8], value: &[u8]) -> Vec<u8> {
    let at = body.windows(word.len()).position(|window| window == word).unwrap();
    [&body[..at], value, &body[at + word.len()..]].concat()
}

#[tokio::test]
async fn of_an_odd_event_everything_that_can_be_read_is_stored() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let sms = || app.provider.sms(CONTACT, NUMBER, "Hello");
    let endless = "x".repeat(100_000);
    let cases = [
        ("no sender", with(&sms(), "/data/payload/from", Value::Null), "contact_number", "unknown"),
        (
            "an empty sender",
            with(&sms(), "/data/payload/from", json!({})),
            "contact_number",
            "unknown",
        ),
        (
            "a sender as a number",
            with(&sms(), "/data/payload/from", json!(13_125_550_142_u64)),
            "contact_number",
            CONTACT,
        ),
        (
            "an endless event id",
            with(&sms(), "/data/id", json!(endless)),
            "contact_number",
            CONTACT,
        ),
        (
            "an event id that is a number",
            with(&sms(), "/data/id", json!(17)),
            "contact_number",
            CONTACT,
        ),
        ("no event id", with(&sms(), "/data/id", Value::Null), "contact_number", CONTACT),
        ("no message id", with(&sms(), "/data/payload/id", Value::Null), "contact_number", CONTACT),
        (
            "neither id",
            with(&with(&sms(), "/data/payload/id", Value::Null), "/data/id", Value::Null),
            "contact_number",
            CONTACT,
        ),
    ];
    for (what, event, field, value) in &cases {
        assert_eq!(receipt(app.provider.send(event).await), "accepted", "{what}");
        assert_eq!(receipt(app.provider.send(event).await), "duplicate", "{what}");
        assert_eq!(&conversations(&staff).await[0][field], value, "{what}");
    }
    assert_eq!(texts(&staff).await.len(), cases.len());

    let media = json!(["https://media.example.test/a", {"url": "https://media.example.test/b"}]);
    let event = with(&sms(), "/data/payload/media", media);
    assert_eq!(receipt(app.provider.send(&event).await), "accepted");
    let kept = &messages(&staff, &conversations(&staff).await[0]).await[0]["media"];
    assert_eq!(kept[0]["url"], "https://media.example.test/a");
    assert_eq!(kept[1]["url"], "https://media.example.test/b");
}

#[tokio::test]
async fn a_message_has_a_time_however_the_provider_writes_it() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let begun = app.clock.now();
    let noon = "2026-11-01T12:00:00Z";
    let cases = [
        (json!("2026-11-01T12:00:00"), Some(noon)),
        (json!("2026-11-01 12:00:00"), Some(noon)),
        (json!("2026-11-01T12:00:00.000000"), Some(noon)),
        (json!("2026-11-01T13:00:00+0100"), Some(noon)),
        (json!("2026-11-01 12:00:00 UTC"), Some(noon)),
        (json!("Sun, 01 Nov 2026 12:00:00 +0000"), Some(noon)),
        (json!(1_793_534_400), Some(noon)),
        (json!(1_793_534_400_000_i64), Some(noon)),
        (json!("1793534400"), Some(noon)),
        (json!("yesterday"), None),
        (json!("0001-01-01T00:00:00Z"), None),
        (json!("2999-01-01T00:00:00Z"), None),
        (Value::Null, None),
        (json!({}), None),
    ];
    for (time, expected) in cases {
        let mut event =
            with(&app.provider.sms(CONTACT, NUMBER, "Hello"), "/data/occurred_at", time.clone());
        event["data"]["payload"]["received_at"] = Value::Null;
        assert_eq!(receipt(app.provider.send(&event).await), "accepted", "{time}");
        let id = event["data"]["payload"]["id"].as_str().unwrap();
        let sql = format!(
            "SELECT to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
            FROM conversation_messages WHERE provider_message_id = '{id}'"
        );
        let stored = app.cluster.texts(&staff.database(), &sql).await;
        match expected {
            Some(expected) => assert_eq!(stored, [expected], "{time}"),
            // The time of its arrival, then.
            None => {
                let stored: DateTime<Utc> = stored[0].parse().unwrap();
                let since = (stored - begun).num_seconds();
                assert!((-1..60).contains(&since), "{time}: {stored}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_that_nobody_can_read_is_kept_for_a_person() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let sms = app.provider.sms(CONTACT, NUMBER, "Hello");
    let many = vec![json!(NUMBER); 1001];
    let cases = [
        ("no payload", json!({"data": {"event_type": "message.received", "id": "e1"}})),
        ("no recipient", with(&again(&sms), "/data/payload/to", json!([]))),
        ("recipients without numbers", with(&again(&sms), "/data/payload/to", json!([{}, null]))),
        ("too many recipients", with(&again(&sms), "/data/payload/to", json!(many))),
        ("no type", with(&again(&sms), "/data/event_type", Value::Null)),
        (
            "a type that is no text",
            with(&again(&sms), "/data/event_type", json!(["message.received"])),
        ),
        ("a list of events", json!({"data": [again(&sms)["data"]]})),
        ("an event as a text", json!({"data": again(&sms)["data"].to_string()})),
        ("an event without its envelope", again(&sms)["data"].clone()),
        ("nothing", json!({})),
        (
            "a report without a sender",
            json!({"data": {"event_type": "message.finalized", "id": "e2", "payload": {"id": "m"}}}),
        ),
    ];
    let before = app.cluster.contents(&staff.database()).await;
    for (what, event) in &cases {
        for _ in 0..2 {
            assert_eq!(receipt(app.provider.send(event).await), "parked", "{what}");
        }
    }
    let db = app.registry.connect().await.unwrap();
    let kept = parked_events::list(&db).await.unwrap();
    assert_eq!(kept.len(), cases.len());
    for (row, (what, event)) in kept.iter().zip(&cases) {
        assert_eq!((row.status, row.reason.as_str()), (Status::Failed, "unreadable"), "{what}");
        let body = parked_events::open_body(app.registry.sealer(), row).unwrap();
        assert_eq!(body, event.to_string().as_bytes(), "{what}");
    }
    assert_eq!(before, app.cluster.contents(&staff.database()).await);
    // A person who makes it due learns at once that it is still as it was.
    app.registry_execute("UPDATE parked_events SET status = 'waiting', next_attempt_at = now()")
        .await;
    eventually("all are given up again", async || {
        app.registry_count(
            "SELECT count(*) FROM parked_events WHERE status = 'failed' AND reason = 'unreadable'",
        )
        .await
            == cases.len() as i64
    })
    .await;
}

#[tokio::test]
async fn no_message_is_lost_to_an_id_that_came_with_another() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let (first, second) =
        (app.provider.sms(CONTACT, NUMBER, "one"), app.provider.sms(CONTACT, NUMBER, "two"));
    assert_eq!(receipt(app.provider.send(&first).await), "accepted");
    let mixed = with(&second, "/data/id", first["data"]["id"].clone());
    assert_eq!(receipt(app.provider.send(&mixed).await), "accepted");
    assert_eq!(receipt(app.provider.send(&mixed).await), "duplicate");
    assert_eq!(receipt(app.provider.send(&second).await), "duplicate");
    // Ids of events and of messages are told apart.
    let third = app.provider.sms(CONTACT, NUMBER, "three");
    let id = format!("message:{}", third["data"]["payload"]["id"].as_str().unwrap());
    assert_eq!(receipt(app.provider.send(&with(&third, "/data/id", json!(id))).await), "accepted");
    let mut stored = texts(&staff).await;
    stored.sort();
    assert_eq!(stored, ["one", "three", "two"]);
}

/// Each of these could be in all events of a provider that is out of order: none of them is an id.
#[tokio::test]
async fn messages_with_an_id_that_is_none_are_all_stored_once() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let mut expected = Vec::new();
    for id in [json!(true), json!(0), json!(" "), json!("")] {
        for n in 1..3 {
            let text = format!("{id} {n}");
            let event = with(&app.provider.sms(CONTACT, NUMBER, &text), "/data/id", id.clone());
            let event = with(&event, "/data/payload/id", id.clone());
            assert_eq!(receipt(app.provider.send(&event).await), "accepted", "{text}");
            assert_eq!(receipt(app.provider.send(&event).await), "duplicate", "{text}");
            expected.push(text);
        }
    }
    expected.sort();
    assert_eq!(texts(&staff).await, expected);
}

#[tokio::test]
async fn an_event_whose_type_is_written_in_another_way_is_stored() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    for event_type in ["MESSAGE.RECEIVED", " message.received "] {
        let event = app.provider.sms(CONTACT, NUMBER, "Hello");
        let event = with(&event, "/data/event_type", json!(event_type));
        assert_eq!(receipt(app.provider.send(&event).await), "accepted", "{event_type}");
    }
    assert_eq!(texts(&staff).await, ["Hello", "Hello"]);
}

/// Number and time can be the same in both.
#[tokio::test]
async fn two_messages_of_one_moment_under_one_event_id_are_both_parked_and_each_of_them_once() {
    let app = TestApp::start().await;
    let first = app.provider.sms(CONTACT, NUMBER, "one");
    let second = with(&first, "/data/payload/text", json!("two"));
    let second = with(&second, "/data/payload/id", json!(Uuid::new_v4()));
    let unreadable = |text: &str| {
        let id = first["data"]["id"].clone();
        json!({"data": {"event_type": "message.received", "id": id, "payload": {"text": text}}})
    };
    let events = [first.clone(), second, unreadable("three"), unreadable("four")];
    for attempt in 1..3 {
        for event in &events {
            let mut event = event.clone();
            event["meta"] = json!({"attempt": attempt});
            assert_eq!(receipt(app.provider.send(&event).await), "parked");
        }
    }
    assert_eq!(app.registry_count("SELECT count(*) FROM parked_events").await, 4);
    // One that was given up comes to life again when it is sent again, and no other.
    app.registry_execute("UPDATE parked_events SET status = 'failed', attempts = 9").await;
    assert_eq!(receipt(app.provider.send(&first).await), "parked");
    let waiting = "SELECT count(*) FROM parked_events WHERE status = 'waiting' AND attempts < 9";
    assert_eq!(app.registry_count(waiting).await, 1);
}

#[tokio::test]
async fn two_bodies_under_one_event_id_are_both_kept_until_they_can_be_delivered() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let first = app.provider.sms(CONTACT, NUMBER, "one");
    let second = app.provider.sms(CONTACT, OTHER_NUMBER, "two");
    let second = with(&second, "/data/id", first["data"]["id"].clone());
    for event in [&first, &second, &first] {
        assert_eq!(receipt(app.provider.send(event).await), "parked");
    }
    assert_eq!(app.registry_count("SELECT count(*) FROM parked_events").await, 2);
    app.assign_number(OTHER_NUMBER, staff.tenant_id).await;
    eventually("the second is there", async || texts(&staff).await == ["two"]).await;
}
