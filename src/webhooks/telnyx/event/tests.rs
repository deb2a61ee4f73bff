use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

mod identity;
mod samples;
use samples::{finalized, received};

/// `event` with one value replaced, or with the member removed if there is no value.
fn with(mut event: Value, pointer: &str, value: Option<Value>) -> Value {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(member.to_owned(), value),
        None => parent.remove(member),
    };
    event
}

fn parse_value(event: &Value) -> Result<Event, MalformedEvent> {
    parse(event.to_string().as_bytes())
}

fn inbound(pointer: &str, value: Value) -> InboundMessage {
    match parse_value(&with(received(), pointer, Some(value))) {
        Ok(Event::MessageReceived(message)) => message,
        unexpected => panic!("{unexpected:?}"),
    }
}

fn update(pointer: &str, value: Value) -> DeliveryUpdate {
    match parse_value(&with(finalized(), pointer, Some(value))) {
        Ok(Event::DeliveryUpdate(update)) => update,
        unexpected => panic!("{unexpected:?}"),
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn unreadable(event: &Value) -> Unreadable {
    match parse_value(event) {
        Ok(Event::Unreadable { fault, .. }) => fault,
        unexpected => panic!("{unexpected:?}"),
    }
}

#[test]
fn reads_an_sms() {
    let expected = InboundMessage {
        event_id: "0b6f1c7e-0000-4000-8000-000000000001".to_owned(),
        occurred_at: Some(at("2026-01-01T00:00:00.588Z")),
        provider_message_id: Some("84cca175-0000-4000-8000-000000000002".to_owned()),
        from: "+13125550101".to_owned(),
        recipients: vec!["+17735550102".to_owned()],
        body: "Is the table free at 7?".to_owned(),
        subject: None,
        media: Vec::new(),
        segments: 1,
        kind: MessageKind::Sms,
        autoresponse: None,
    };
    assert_eq!(parse_value(&received()), Ok(Event::MessageReceived(expected)));
}

#[test]
fn reads_a_group_mms() {
    let mut event = received();
    let payload = event.pointer_mut("/data/payload").unwrap();
    payload["type"] = json!("MMS");
    payload["subject"] = json!("Photo");
    payload["text"] = json!("See the picture");
    payload["media"] = json!([
        { "url": "https://media.example.test/a.png", "content_type": "image/png", "sha256": "7d86", "size": 102400 },
        { "url": "https://media.example.test/b.vcf", "content_type": "text/vcard", "sha256": null, "size": 512 },
        { "url": "https://media.example.test/c", "hash_sha256": "9a9a", "sha256": null, "size": null }
    ]);
    payload["to"] = json!([{ "phone_number": "+17735550102" }, { "phone_number": "+13125550109" }, { "phone_number": "+17735550102" }]);
    payload["cc"] = json!([{ "phone_number": "+13125550110" }, { "phone_number": "+13125550109" }]);
    let Ok(Event::MessageReceived(message)) = parse_value(&event) else { panic!("not a message") };
    assert_eq!(message.kind, MessageKind::Mms);
    assert_eq!(message.subject.as_deref(), Some("Photo"));
    assert_eq!(message.body, "See the picture");
    assert_eq!(message.recipients, ["+17735550102", "+13125550109", "+13125550110"]);
    let expected = json!([
        { "url": "https://media.example.test/a.png", "content_type": "image/png", "size": 102400, "sha256": "7d86" },
        { "url": "https://media.example.test/b.vcf", "content_type": "text/vcard", "size": 512, "sha256": null },
        { "url": "https://media.example.test/c", "content_type": null, "size": null, "sha256": "9a9a" }
    ]);
    assert_eq!(serde_json::to_value(&message.media).unwrap(), expected);
}

#[test]
fn reads_a_finalized_message() {
    let expected = DeliveryUpdate {
        event_id: "4ee8c3a6-0000-4000-8000-000000000010".to_owned(),
        occurred_at: Some(at("2026-01-01T00:01:14.148Z")),
        provider_message_id: "ac012cbf-0000-4000-8000-000000000011".to_owned(),
        from: "+17735550102".to_owned(),
        stage: DeliveryStage::Finalized,
        statuses: vec![
            ("+13125550101".to_owned(), "delivered".to_owned()),
            ("+13125550109".to_owned(), "delivery_failed".to_owned()),
        ],
        error: Some("40008 Undeliverable".to_owned()),
    };
    assert_eq!(parse_value(&finalized()), Ok(Event::DeliveryUpdate(expected)));
}

#[test]
fn reads_a_sent_message() {
    let update = update("/data/event_type", json!("message.sent"));
    assert_eq!(update.stage, DeliveryStage::Sent);
}

#[rstest]
#[case::tenlc_campaign(
    json!({ "data": { "event_type": "10dlc.campaign.update", "id": "e1", "occurred_at": "2026-01-02T10:00:00.000+00:00",
        "record_type": "event", "payload": { "type": "MNO_REVIEW", "campaignId": "c1", "status": "REJECTED" } } }),
    Some("e1"), "10dlc.campaign.update"
)]
#[case::link_click(
    json!({ "record_type": "link_clicked", "url": "https://s.example.test/x", "to": "+13125550101", "message_id": "m1",
        "time_clicked": "2026-01-01T00:00:00Z" }),
    None, "link_clicked"
)]
#[case::read_receipt(json!({ "data": { "event_type": "message.read", "id": "e2", "payload": {} } }), Some("e2"), "message.read")]
#[case::number_order(json!({ "data": { "event_type": "number_order.complete", "id": "e3" } }), Some("e3"), "number_order.complete")]
#[case::other_case(json!({ "data": { "event_type": " Number_Order.Complete", "id": "e3" } }), Some("e3"), "number_order.complete")]
#[case::id_is_a_number(json!({ "data": { "event_type": "number_order.complete", "id": 4 } }), None, "number_order.complete")]
#[case::inbound_copy_of_a_sent_message(with(received(), "/data/payload/direction", Some(json!("outbound"))),
    Some("0b6f1c7e-0000-4000-8000-000000000001"), "message.received")]
#[case::delivery_of_a_received_message(with(finalized(), "/data/payload/direction", Some(json!("inbound"))),
    Some("4ee8c3a6-0000-4000-8000-000000000010"), "message.finalized")]
fn leaves_the_rest_alone(#[case] event: Value, #[case] id: Option<&str>, #[case] event_type: &str) {
    let expected = Event::Other { id: id.map(str::to_owned), event_type: event_type.to_owned() };
    assert_eq!(parse_value(&event), Ok(expected));
}

#[rstest]
#[case::list(json!([{ "phone_number": "+1" }, { "phone_number": "+2" }]), &["+1", "+2"])]
#[case::whatsapp(json!("+1"), &["+1"])]
#[case::list_of_strings(json!(["+1", "+2"]), &["+1", "+2"])]
#[case::one_object(json!({ "phone_number": "+1" }), &["+1"])]
#[case::rcs_agent(json!([{ "agent_id": "agent-1", "agent_name": "Agent" }]), &["agent-1"])]
#[case::holes(json!([null, {}, true, " ", { "phone_number": null }, { "phone_number": "" }, [], "", { "phone_number": "+1" }]), &["+1"])]
#[case::numbers(json!([13_125_550_102_u64, { "phone_number": 12345 }]), &["+13125550102", "12345"])]
#[case::one_number_in_two_ways(json!(["+1 (312) 555-0102", "3125550102"]), &["+13125550102"])]
fn reads_every_form_of_receiver(#[case] to: Value, #[case] expected: &[&str]) {
    assert_eq!(inbound("/data/payload/to", to).recipients, expected);
}

#[test]
fn a_receiver_in_cc_is_enough() {
    let event = with(received(), "/data/payload/cc", Some(json!([{ "phone_number": "+1" }])));
    let Ok(Event::MessageReceived(message)) =
        parse_value(&with(event, "/data/payload/to", Some(Value::Null)))
    else {
        panic!()
    };
    assert_eq!(message.recipients, ["+1"]);
}

#[rstest]
#[case::object(json!({ "phone_number": "+1" }), "+1")]
#[case::string(json!("+1"), "+1")]
#[case::longest("1".repeat(255).into(), &"1".repeat(255))]
fn reads_every_form_of_sender(#[case] from: Value, #[case] expected: &str) {
    assert_eq!(inbound("/data/payload/from", from.clone()).from, expected);
    assert_eq!(update("/data/payload/from", from).from, expected);
}

#[rstest]
#[case::missing(json!(null), "")]
#[case::number(json!(7), "7")]
#[case::truth(json!(true), "true")]
#[case::list(json!(["a", 1]), r#"["a",1]"#)]
#[case::nul(json!("a\0b"), "a\u{fffd}b")]
#[case::emoji(json!("\u{1f600}"), "\u{1f600}")]
fn reads_the_text(#[case] text: Value, #[case] expected: &str) {
    assert_eq!(inbound("/data/payload/text", text).body, expected);
}

#[rstest]
#[case::rcs(json!({ "text": "hello" }), "hello")]
#[case::whatsapp(json!({ "type": "text", "text": { "body": "hello" } }), "hello")]
#[case::no_text(json!({ "location": { "latitude": 1.0 } }), "")]
fn reads_the_text_of_a_rich_message(#[case] body: Value, #[case] expected: &str) {
    let event = with(received(), "/data/payload/text", None);
    let Ok(Event::MessageReceived(message)) =
        parse_value(&with(event, "/data/payload/body", Some(body)))
    else {
        panic!()
    };
    assert_eq!(message.body, expected);
}

#[rstest]
#[case(json!(3), 3)]
#[case(json!(0), 1)]
#[case(json!(-4), 1)]
#[case(json!(null), 1)]
#[case(json!("2"), 1)]
#[case(json!(i64::MAX), i32::MAX)]
#[case(json!(u64::MAX), 1)]
fn counts_segments(#[case] parts: Value, #[case] expected: i32) {
    assert_eq!(inbound("/data/payload/parts", parts).segments, expected);
}

#[rstest]
#[case(json!("sms"), MessageKind::Sms)]
#[case(json!("MMS"), MessageKind::Mms)]
#[case(json!("RCS"), MessageKind::Other)]
#[case(json!(null), MessageKind::Other)]
fn reads_the_kind(#[case] kind: Value, #[case] expected: MessageKind) {
    assert_eq!(inbound("/data/payload/type", kind).kind, expected);
}

#[test]
fn reads_the_autoresponse() {
    assert_eq!(
        inbound("/data/payload/autoresponse_type", json!("STOP")).autoresponse.as_deref(),
        Some("STOP")
    );
}

#[test]
fn reads_times_of_any_offset() {
    let message = inbound("/data/occurred_at", json!("2026-01-01T02:00:00+02:00"));
    assert_eq!(message.occurred_at, Some(at("2026-01-01T00:00:00Z")));
}

#[test]
fn reads_media_that_are_links_alone() {
    let media = json!(["https://media.example.test/a", { "url": "https://media.example.test/b" }]);
    let urls: Vec<String> =
        inbound("/data/payload/media", media).media.into_iter().map(|media| media.url).collect();
    assert_eq!(urls, ["https://media.example.test/a", "https://media.example.test/b"]);
}

#[test]
fn skips_media_without_a_link() {
    let media = json!([null, 7, {}, { "url": null }, { "url": "" }, { "url": "https://media.example.test/a", "size": -1 }]);
    let expected = Media {
        url: "https://media.example.test/a".to_owned(),
        content_type: None,
        size: None,
        sha256: None,
    };
    assert_eq!(inbound("/data/payload/media", media).media, [expected]);
}

#[rstest]
#[case::none(json!([]), None)]
#[case::null(json!(null), None)]
#[case::no_title(json!([{ "code": "40001" }]), Some("40001"))]
#[case::no_code(json!([{ "title": "Not routable" }]), Some("Not routable"))]
#[case::code_as_number(json!([{ "code": 40001, "title": "Not routable" }]), Some("40001 Not routable"))]
#[case::foreign(json!(["oops"]), None)]
fn reads_the_first_error(#[case] errors: Value, #[case] expected: Option<&str>) {
    assert_eq!(update("/data/payload/errors", errors).error.as_deref(), expected);
}

#[rstest]
#[case::null(json!(null), 0)]
#[case::plain_string(json!("+1"), 0)]
#[case::no_status(json!([{ "phone_number": "+1" }, { "phone_number": "+2", "status": "sent" }]), 1)]
#[case::no_number(json!([{ "status": "sent" }]), 0)]
fn leaves_out_receivers_without_a_status(#[case] to: Value, #[case] expected: usize) {
    assert_eq!(update("/data/payload/to", to).statuses.len(), expected);
}

#[test]
fn statuses_of_cc_follow() {
    let update =
        update("/data/payload/cc", json!([{ "phone_number": "+3", "status": "x".repeat(300) }]));
    assert_eq!(update.statuses[2], ("+3".to_owned(), "x".repeat(255)));
}

#[test]
fn replaces_nul_in_everything_that_is_kept() {
    let nul = r"a\u0000b";
    let body = format!(
        r#"{{"data":{{"event_type":"message.received","id":"{nul}","occurred_at":"2026-01-01T00:00:00Z","payload":{{"id":"{nul}",
        "from":"{nul}","to":["{nul}"],"text":"{nul}","subject":"{nul}","autoresponse_type":"{nul}",
        "media":[{{"url":"{nul}","content_type":"{nul}","sha256":"{nul}"}}]}}}}}}"#
    );
    let event = parse(body.as_bytes()).unwrap();
    let shown = format!("{event:?}");
    assert!(!shown.contains(r"\0"), "{shown}");
    assert_eq!(shown.matches("a\u{fffd}b").count(), 10, "{shown}");
    let update = body
        .replace("message.received", "message.sent")
        .replace(r#"["a"#, r#"[{"phone_number":"x","status":"a"#);
    let update = update
        .replace(r#""],"text"#, r#""}],"text"#)
        .replace(r#""subject":"#, r#""errors":[{"code":"a\u0000b"}],"subject":"#);
    let shown = format!("{:?}", parse(update.as_bytes()).unwrap());
    assert!(!shown.contains(r"\0"), "{shown}");
    assert_eq!(shown.matches("a\u{fffd}b").count(), 5, "{shown}");
}

#[rstest]
#[case::empty("", "not_json")]
#[case::text("hello", "not_json")]
#[case::cut_short(r#"{"data":"#, "not_json")]
#[case::more_after_it("{}{}", "not_json")]
#[case::list("[]", "not_an_object")]
#[case::string(r#""message.received""#, "not_an_object")]
#[case::null("null", "not_an_object")]
fn refuses_what_is_no_object(#[case] body: &str, #[case] reason: &str) {
    assert_eq!(parse(body.as_bytes()).map_err(MalformedEvent::reason), Err(reason));
}

#[test]
fn says_where_the_json_ends() {
    let malformed = parse(b"{\n  junk").unwrap_err();
    assert_eq!(malformed, MalformedEvent::NotJson { line: 2, column: 3 });
}

#[rstest]
#[case::half_a_surrogate_pair(br#"{"data":{"event_type":"x\ud83d"}}"#, "x\u{fffd}")]
#[case::a_bad_byte(b"{\"data\":{\"event_type\":\"x\xff\"}}", "x\u{fffd}")]
#[case::a_number_beyond_all_bounds(br#"{"data":{"event_type":"x","y":[1e400]}}"#, "x")]
fn reads_what_is_not_quite_json(#[case] body: &[u8], #[case] event_type: &str) {
    let expected = Event::Other { id: None, event_type: event_type.to_owned() };
    assert_eq!(parse(body), Ok(expected));
}

#[rstest]
#[case::open_lists("[".repeat(1_000_000))]
#[case::open_objects(r#"{"data":"#.repeat(1_000_000))]
fn open_nesting_is_refused_without_harm(#[case] body: String) {
    assert!(matches!(parse(body.as_bytes()), Err(MalformedEvent::NotJson { .. })));
}

#[test]
fn deep_nesting_beside_an_event_does_not_matter() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let body = format!(r#"{{"x":{deep},"data":{{"event_type":"y"}}}}"#);
    let expected = Event::Other { id: None, event_type: "y".to_owned() };
    assert_eq!(parse(body.as_bytes()), Ok(expected));
}

#[test]
fn the_last_of_two_members_counts() {
    let body = r#"{"data":{"event_type":"x"},"data":{"event_type":"y","event_type":"z"}}"#;
    assert_eq!(parse(body.as_bytes()), Ok(Event::Other { id: None, event_type: "z".to_owned() }));
}

#[rstest]
#[case::payload("/data/payload", "data.payload")]
#[case::message_id("/data/payload/id", "data.payload.id")]
#[case::sender("/data/payload/from", "data.payload.from")]
fn reports_need(#[case] pointer: &str, #[case] path: &'static str) {
    for unusable in [None, Some(json!(null)), Some(json!("")), Some(json!([]))] {
        let event = with(finalized(), pointer, unusable);
        assert_eq!(unreadable(&event), Unreadable::Missing(path));
    }
}

/// A missing member costs only its own information.
#[test]
fn messages_need_little() {
    for unusable in [None, Some(json!(null)), Some(json!("")), Some(json!([]))] {
        let mut event = received();
        for pointer in ["/data/id", "/data/occurred_at", "/data/payload/id", "/data/payload/from"] {
            event = with(event, pointer, unusable.clone());
        }
        let event = with(event, "/data/payload/received_at", None);
        let Ok(Event::MessageReceived(message)) = parse_value(&event) else { panic!("{event}") };
        assert_eq!((message.occurred_at, message.provider_message_id), (None, None));
        assert_eq!((&*message.from, &*message.body), ("unknown", "Is the table free at 7?"));
        assert!(message.event_id.starts_with("sha256:"), "{}", message.event_id);
    }
}

#[test]
fn an_event_without_an_id_has_the_same_one_in_every_attempt_and_another_event_another() {
    let id = |event: Value| inbound_id(&with(event, "/data/id", None));
    let attempt = |n: i64| with(received(), "/meta", Some(json!({ "attempt": n })));
    assert_eq!(id(attempt(1)), id(attempt(2)));
    assert_ne!(id(received()), id(with(received(), "/data/payload/text", Some(json!("other")))));
}

fn inbound_id(event: &Value) -> String {
    match parse_value(event) {
        Ok(Event::MessageReceived(message)) => message.event_id,
        unexpected => panic!("{unexpected:?}"),
    }
}

#[test]
fn the_time_of_arrival_at_the_provider_stands_in_for_the_time_of_the_event() {
    let message = inbound("/data/occurred_at", json!("yesterday"));
    assert_eq!(message.occurred_at, Some(at("2026-01-01T00:00:00.503Z")));
}

#[rstest]
#[case::missing(None)]
#[case::null(Some(json!(null)))]
#[case::none(Some(json!([])))]
#[case::without_numbers(Some(json!([{}])))]
fn inbound_messages_need_a_receiver(#[case] to: Option<Value>) {
    let event = with(received(), "/data/payload/to", to);
    assert_eq!(unreadable(&event), Unreadable::Missing("data.payload.to"));
}

/// Two different ids could be equal after a cut.
#[rstest]
#[case("/data/id")]
#[case("/data/payload/id")]
#[case("/data/payload/from")]
#[case("/data/payload/to")]
fn of_an_endless_id_the_digest_is_kept(#[case] pointer: &str) {
    let longest = with(received(), pointer, Some("é".repeat(255).into()));
    let shown = format!("{:?}", parse_value(&longest).unwrap());
    assert!(shown.contains(&"é".repeat(255)), "{shown}");
    let longer = with(received(), pointer, Some("é".repeat(256).into()));
    let shown = format!("{:?}", parse_value(&longer).unwrap());
    assert!(shown.contains("sha256:") && !shown.contains("éé"), "{shown}");
}

#[rstest]
#[case("/data/payload/to", "data.payload.to", json!({ "phone_number": "+1" }))]
#[case("/data/payload/cc", "data.payload.cc", json!({ "phone_number": "+1" }))]
#[case("/data/payload/media", "data.payload.media", json!({ "url": "https://media.example.test/a" }))]
fn bounds_lists(#[case] pointer: &str, #[case] path: &'static str, #[case] entry: Value) {
    let event = with(received(), pointer, Some(vec![entry.clone(); 1000].into()));
    assert!(matches!(parse_value(&event), Ok(Event::MessageReceived(_))));
    let event = with(received(), pointer, Some(vec![entry; 1001].into()));
    assert_eq!(unreadable(&event), Unreadable::TooMany(path));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let member =
            prop_oneof!["phone_number", "status", "url", "text", "body", "code", "[a-z]{1,8}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(member, inner, 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(body: Vec<u8>) {
        let _ = parse(&body);
    }

    #[test]
    fn no_damage_to_an_event_causes_a_panic(finished: bool, at: prop::sample::Index, byte: u8, cut: bool) {
        let mut body = if finished { finalized() } else { received() }.to_string().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if cut { body.truncate(at); }
        let _ = parse(&body);
    }

    /// For any value of one member, the result is an event or a reason, and no NUL gets through.
    #[test]
    fn no_value_of_a_member_causes_a_panic(finished: bool, inside: bool, member: prop::sample::Index, value in any_json()) {
        let event = if finished { finalized() } else { received() };
        let parent = if inside { "/data/payload" } else { "/data" };
        let members: Vec<String> = event.pointer(parent).unwrap().as_object().unwrap().keys().cloned().collect();
        let pointer = format!("{parent}/{}", member.get(&members));
        let shown = format!("{:?}", parse_value(&with(event, &pointer, Some(value))));
        let has_nul = shown.replace(r"\\", "").contains(r"\0");
        prop_assert!(!has_nul, "{}", shown);
    }
}
