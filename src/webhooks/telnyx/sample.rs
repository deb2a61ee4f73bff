//! Webhook bodies as Telnyx sends them, for the demo, `narthex simulate sms` and the tests. The
//! shapes are those of <https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks>,
//! with every documented member; all values are made up.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::event::Media;

const MESSAGING_PROFILE_ID: &str = "740572b6-0000-4000-8000-000000000003";
const ORGANIZATION_ID: &str = "47a530f8-0000-4000-8000-000000000004";
const WEBHOOK_URL: &str = "https://gateway.example.test/webhooks/telnyx";

/// The content of a sample MMS, without its addresses.
#[derive(Debug, Clone, Copy, Default)]
pub struct MmsContent<'a> {
    /// Subject; `None` leaves it out.
    pub subject: Option<&'a str>,
    /// Text; may be empty.
    pub text: &'a str,
    /// Files, in order.
    pub media: &'a [Media],
}

/// The `message.received` event of a text message. `from` and `to` are E.164 numbers; times are
/// written in milliseconds.
pub fn inbound_sms(
    event_id: &str,
    message_id: &str,
    from: &str,
    to: &str,
    text: &str,
    occurred_at: DateTime<Utc>,
) -> Value {
    let content = MmsContent { text, ..MmsContent::default() };
    let payload = inbound_payload("SMS", message_id, from, &[to], &[], content, occurred_at);
    envelope("message.received", event_id, payload, occurred_at)
}

/// The `message.received` event of a picture message. With more than one number in `to` and `cc` it
/// is a group message.
pub fn inbound_mms(
    event_id: &str,
    message_id: &str,
    from: &str,
    to: &[&str],
    cc: &[&str],
    content: MmsContent<'_>,
    occurred_at: DateTime<Utc>,
) -> Value {
    let payload = inbound_payload("MMS", message_id, from, to, cc, content, occurred_at);
    envelope("message.received", event_id, payload, occurred_at)
}

/// A `message.sent` or `message.finalized` event. `recipients` are numbers with their status. Each
/// with `sending_failed` or `delivery_failed` also gets an error 40008 that refers to it.
pub fn delivery(
    event_type: &str,
    event_id: &str,
    message_id: &str,
    from: &str,
    recipients: &[(&str, &str)],
    occurred_at: DateTime<Utc>,
) -> Value {
    let time = timestamp(occurred_at);
    let valid_until = occurred_at.checked_add_signed(TimeDelta::hours(1)).unwrap_or(occurred_at);
    let to: Vec<Value> = recipients.iter().map(|(number, status)| party(number, status)).collect();
    let errors: Vec<Value> = recipients
        .iter()
        .enumerate()
        .filter(|(_, (_, status))| matches!(*status, "sending_failed" | "delivery_failed"))
        .map(|(index, _)| undeliverable(index))
        .collect();
    let payload = json!({
        "record_type": "message",
        "direction": "outbound",
        "id": message_id,
        "type": "SMS",
        "messaging_profile_id": MESSAGING_PROFILE_ID,
        "organization_id": ORGANIZATION_ID,
        "from": party(from, "webhook_delivered"),
        "to": to,
        "cc": [],
        "text": "Your table is ready",
        "media": [],
        "encoding": "GSM-7",
        "parts": 1,
        "cost": money("0.0051"),
        "cost_breakdown": { "carrier_fee": money("0.00305"), "rate": money("0.00205") },
        "errors": errors,
        "tags": [],
        "received_at": time,
        "sent_at": time,
        "completed_at": (event_type == "message.finalized").then_some(&time),
        "valid_until": timestamp(valid_until),
        "smart_encoding_applied": false,
        "wait_seconds": 0.2,
        "tcr_campaign_id": "CABC123",
        "tcr_campaign_billable": true,
        "tcr_campaign_registered": "REGISTERED",
        "webhook_url": WEBHOOK_URL,
        "webhook_failover_url": null,
    });
    envelope(event_type, event_id, payload, occurred_at)
}

fn inbound_payload(
    kind: &str,
    message_id: &str,
    from: &str,
    to: &[&str],
    cc: &[&str],
    content: MmsContent<'_>,
    occurred_at: DateTime<Utc>,
) -> Value {
    let receivers = |numbers: &[&str]| -> Vec<Value> {
        numbers.iter().map(|number| party(number, "webhook_delivered")).collect()
    };
    let (encoding, parts) = encoding_and_parts(content.text);
    json!({
        "record_type": "message",
        "direction": "inbound",
        "id": message_id,
        "type": kind,
        "messaging_profile_id": MESSAGING_PROFILE_ID,
        "organization_id": ORGANIZATION_ID,
        "from": { "phone_number": from, "carrier": "Example Mobile", "line_type": "Wireless" },
        "to": receivers(to),
        "cc": receivers(cc),
        "subject": content.subject,
        "text": content.text,
        "media": content.media,
        "encoding": encoding,
        "parts": parts,
        "cost": money("0.0000"),
        "cost_breakdown": { "carrier_fee": money("0.00000"), "rate": money("0.00000") },
        "errors": [],
        "tags": [],
        "autoresponse_type": null,
        "is_spam": false,
        "received_at": timestamp(occurred_at),
        "sent_at": null,
        "completed_at": null,
        "valid_until": null,
        "tcr_campaign_id": null,
        "tcr_campaign_billable": false,
        "tcr_campaign_registered": null,
        "webhook_url": WEBHOOK_URL,
        "webhook_failover_url": null,
    })
}

fn envelope(event_type: &str, event_id: &str, payload: Value, occurred_at: DateTime<Utc>) -> Value {
    json!({
        "data": {
            "event_type": event_type,
            "id": event_id,
            "occurred_at": timestamp(occurred_at),
            "record_type": "event",
            "payload": payload,
        },
        "meta": { "attempt": 1, "delivered_to": WEBHOOK_URL },
    })
}

fn party(number: &str, status: &str) -> Value {
    json!({ "phone_number": number, "carrier": "Example Mobile", "line_type": "Wireless", "status": status })
}

fn undeliverable(index: usize) -> Value {
    json!({
        "code": "40008",
        "title": "Undeliverable",
        "detail": "The receiving carrier did not deliver the message.",
        "source": { "pointer": format!("/to/{index}/phone_number") },
        "meta": { "url": "https://developers.telnyx.com/docs/overview/errors/40008" },
    })
}

fn money(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, false)
}

/// Approximate, but enough for a sample: ASCII text counts as GSM-7 with one septet for each
/// character, all other text does not.
fn encoding_and_parts(text: &str) -> (&'static str, usize) {
    let (encoding, length, single, each) = if text.is_ascii() {
        ("GSM-7", text.len(), 160, 153)
    } else {
        ("UCS-2", text.encode_utf16().count(), 70, 67)
    };
    (encoding, if length <= single { 1 } else { length.div_ceil(each) })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::webhooks::telnyx::event::{
        DeliveryStage, Event, InboundMessage, MessageKind, parse,
    };

    fn now() -> DateTime<Utc> {
        "2026-01-01T00:00:00.588Z".parse().unwrap()
    }

    fn read(event: &Value) -> Event {
        parse(event.to_string().as_bytes()).unwrap()
    }

    fn members(object: &Value) -> Vec<&str> {
        let mut members: Vec<&str> =
            object.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        members
    }

    #[test]
    fn an_sms_reads_back() {
        let event = inbound_sms(
            "e1",
            "m1",
            "+13125550101",
            "+17735550102",
            "Is the table free at 7?",
            now(),
        );
        let expected = InboundMessage {
            event_id: "e1".to_owned(),
            occurred_at: Some(now()),
            provider_message_id: Some("m1".to_owned()),
            from: "+13125550101".to_owned(),
            recipients: vec!["+17735550102".to_owned()],
            body: "Is the table free at 7?".to_owned(),
            subject: None,
            media: Vec::new(),
            segments: 1,
            kind: MessageKind::Sms,
            autoresponse: None,
        };
        assert_eq!(read(&event), Event::MessageReceived(expected));
    }

    #[test]
    fn an_mms_reads_back() {
        let url = "https://media.example.test/a.png".to_owned();
        let media = [Media {
            url,
            content_type: Some("image/png".to_owned()),
            size: Some(102_400),
            sha256: None,
        }];
        let content = MmsContent { subject: Some("Photo"), text: "See the picture", media: &media };
        let event = inbound_mms("e1", "m1", "+1", &["+2", "+3"], &["+4"], content, now());
        let Event::MessageReceived(message) = read(&event) else { panic!("not a message") };
        assert_eq!(message.kind, MessageKind::Mms);
        assert_eq!(message.subject.as_deref(), Some("Photo"));
        assert_eq!(message.recipients, ["+2", "+3", "+4"]);
        assert_eq!(message.media, media);
    }

    #[rstest]
    #[case("message.sent", DeliveryStage::Sent, "sent", None)]
    #[case("message.finalized", DeliveryStage::Finalized, "delivered", None)]
    #[case(
        "message.finalized",
        DeliveryStage::Finalized,
        "delivery_failed",
        Some("40008 Undeliverable")
    )]
    fn a_delivery_reads_back(
        #[case] event_type: &str,
        #[case] stage: DeliveryStage,
        #[case] status: &str,
        #[case] error: Option<&str>,
    ) {
        let event =
            delivery(event_type, "e1", "m1", "+1", &[("+2", "delivered"), ("+3", status)], now());
        let Event::DeliveryUpdate(update) = read(&event) else { panic!("not an update") };
        assert_eq!(
            (update.event_id.as_str(), update.provider_message_id.as_str(), update.from.as_str()),
            ("e1", "m1", "+1")
        );
        assert_eq!((update.occurred_at, update.stage), (Some(now()), stage));
        assert_eq!(
            update.statuses,
            [("+2".to_owned(), "delivered".to_owned()), ("+3".to_owned(), status.to_owned())]
        );
        assert_eq!(update.error.as_deref(), error);
        let payload = &event["data"]["payload"];
        assert_eq!(payload["completed_at"].is_null(), stage == DeliveryStage::Sent);
        assert_eq!(payload["valid_until"], "2026-01-01T01:00:00.588+00:00");
        if error.is_some() {
            assert_eq!(payload["errors"][0]["source"]["pointer"], "/to/1/phone_number");
        }
    }

    #[test]
    fn samples_have_every_documented_member() {
        let sms = inbound_sms("e1", "m1", "+1", "+2", "hi", now());
        assert_eq!(members(&sms), ["data", "meta"]);
        assert_eq!(sms["meta"]["attempt"], 1);
        assert_eq!(
            members(&sms["data"]),
            ["event_type", "id", "occurred_at", "payload", "record_type"]
        );
        assert_eq!(sms["data"]["occurred_at"], "2026-01-01T00:00:00.588+00:00");
        let common = [
            "cc",
            "completed_at",
            "cost",
            "cost_breakdown",
            "direction",
            "encoding",
            "errors",
            "from",
            "id",
            "media",
            "messaging_profile_id",
            "organization_id",
            "parts",
            "received_at",
            "record_type",
            "sent_at",
            "tags",
            "tcr_campaign_billable",
            "tcr_campaign_id",
            "tcr_campaign_registered",
            "text",
            "to",
            "type",
            "valid_until",
            "webhook_failover_url",
            "webhook_url",
        ];
        let with = |more: &[&'static str]| {
            let mut all = [&common, more].concat();
            all.sort_unstable();
            all
        };
        assert_eq!(
            members(&sms["data"]["payload"]),
            with(&["autoresponse_type", "is_spam", "subject"])
        );
        let sent = delivery("message.sent", "e1", "m1", "+1", &[("+2", "sent")], now());
        assert_eq!(
            members(&sent["data"]["payload"]),
            with(&["smart_encoding_applied", "wait_seconds"])
        );
    }

    #[rstest]
    #[case::short("a".repeat(160), "GSM-7", 1)]
    #[case::two_parts("a".repeat(161), "GSM-7", 2)]
    #[case::short_unicode("ж".repeat(70), "UCS-2", 1)]
    #[case::emoji("\u{1f600}".repeat(36), "UCS-2", 2)]
    #[case::empty(String::new(), "GSM-7", 1)]
    fn parts_follow_the_text(#[case] text: String, #[case] encoding: &str, #[case] parts: i32) {
        let event = inbound_sms("e1", "m1", "+1", "+2", &text, now());
        assert_eq!(event["data"]["payload"]["encoding"], encoding);
        assert_eq!(event["data"]["payload"]["parts"], parts);
    }

    #[test]
    fn the_last_possible_time_has_a_sample() {
        let event = delivery("message.sent", "e1", "m1", "+1", &[], DateTime::<Utc>::MAX_UTC);
        assert!(event["data"]["payload"]["valid_until"].is_string());
    }
}
