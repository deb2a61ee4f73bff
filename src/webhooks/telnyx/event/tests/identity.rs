//! The identity of an event: its type, its id, its content.

use super::*;

#[rstest]
#[case::empty_object(json!({}), "data")]
#[case::data_is_null(json!({ "data": null, "record_type": "link_clicked" }), "data")]
#[case::data_is_a_list(json!({ "data": [received()] }), "data")]
#[case::data_is_a_string(json!({ "data": received().to_string() }), "data")]
#[case::no_envelope(received()["data"].clone(), "data")]
#[case::a_message_alone(received()["data"]["payload"].clone(), "data")]
#[case::blank_record_type(json!({ "record_type": " " }), "data")]
#[case::no_event_type(with(received(), "/data/event_type", None), "data.event_type")]
#[case::event_type_is_null(
    with(received(), "/data/event_type", Some(Value::Null)),
    "data.event_type"
)]
#[case::event_type_is_blank(with(received(), "/data/event_type", Some(json!(" "))), "data.event_type")]
#[case::event_type_is_a_number(json!({ "data": { "id": 4, "event_type": 5 } }), "data.event_type")]
#[case::event_type_is_a_list(with(received(), "/data/event_type", Some(json!(["message.received"]))), "data.event_type")]
fn what_does_not_say_what_it_is_is_kept(#[case] event: Value, #[case] path: &'static str) {
    assert_eq!(unreadable(&event), Unreadable::Missing(path));
    let id = |event: &Value| match parse_value(event) {
        Ok(Event::Unreadable { event_id, .. }) => event_id,
        unexpected => panic!("{unexpected:?}"),
    };
    let attempt = |n: i64| with(event.clone(), "/meta", Some(json!({ "attempt": n })));
    assert_eq!(id(&attempt(1)), id(&attempt(2)));
}

#[rstest]
#[case("MESSAGE.RECEIVED")]
#[case(" message.received\n")]
fn the_type_of_an_event_is_read_in_any_case(#[case] event_type: &str) {
    let event = with(received(), "/data/event_type", Some(json!(event_type)));
    assert_eq!(parse_value(&event), parse_value(&received()));
}

/// Each of these values can occur in many events.
#[rstest]
#[case(json!(true))]
#[case(json!(false))]
#[case(json!(0))]
#[case(json!(1.5))]
#[case(json!(" "))]
#[case(json!("\t\n"))]
#[case(json!({}))]
fn what_is_no_text_is_no_id(#[case] id: Value) {
    let event = with(received(), "/data/id", Some(id.clone()));
    assert!(inbound_id(&event).starts_with("sha256:"));
    assert_eq!(inbound("/data/payload/id", id.clone()).provider_message_id, None);
    let report = with(finalized(), "/data/payload/id", Some(id));
    assert_eq!(unreadable(&report), Unreadable::Missing("data.payload.id"));
}

#[test]
fn the_content_of_an_event_is_the_same_in_every_attempt_and_in_no_other_event() {
    let digest = |event: Value| content_digest(event.to_string().as_bytes()).unwrap();
    let attempt = |n: i64| with(received(), "/meta", Some(json!({ "attempt": n })));
    assert_eq!(digest(attempt(1)), digest(attempt(2)));
    assert_ne!(digest(received()), digest(with(received(), "/data/payload/id", Some(json!("m")))));
}
