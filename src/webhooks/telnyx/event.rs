//! The content of a verified Telnyx body. Reads the members that the gateway uses and ignores all
//! others, because the provider adds members at any time. Shapes:
//! <https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks>.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::identifiers::canonical_address;

mod repair;
mod time;

use time::time;

/// Longest identifier or address, in characters. A longer one is replaced by its digest, because
/// two different ones could be equal after a cut.
pub const MAX_ID_CHARS: usize = 255;

/// The sender of a message that names none.
pub const UNKNOWN_SENDER: &str = "unknown";

/// Longest label (status, error, event type), in characters. Longer ones are cut.
pub const MAX_LABEL_CHARS: usize = 255;

/// Most entries that are read in each of `to`, `cc` and `media`. It is far above any real message,
/// and limits the work that one body can cause.
pub const MAX_ENTRIES: usize = 1000;

/// An event of Telnyx, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `message.received`: a contact wrote to one of our numbers.
    MessageReceived(InboundMessage),
    /// `message.sent` or `message.finalized`: the state of a message that we sent.
    DeliveryUpdate(DeliveryUpdate),
    /// One of the above without a required member, or an event without a type. A person has to look
    /// at it.
    Unreadable {
        /// `data.id`.
        event_id: String,
        /// What is missing or too long.
        fault: Unreadable,
    },
    /// An event of another type, which is acknowledged and ignored.
    Other {
        /// `data.id`, if it is usable.
        id: Option<String>,
        /// `data.event_type`, or the `record_type` of a body without the `data` envelope.
        event_type: String,
    },
}

/// A message that reached a number of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundMessage {
    /// Id of the event: the same in every delivery attempt.
    pub event_id: String,
    /// `None` if the event has no time that can be read.
    pub occurred_at: Option<DateTime<Utc>>,
    /// Id of the message: the same in every event of this message.
    pub provider_message_id: Option<String>,
    /// The sender's number, short code or name; [`UNKNOWN_SENDER`] where the event names none.
    pub from: String,
    /// `to`, then `cc`, in order and without repeats; never empty. A group message has several.
    /// Numbers are in the form in which they are stored: see [`canonical_address`].
    pub recipients: Vec<String>,
    /// The text; empty for a message of media only.
    pub body: String,
    /// Subject of an MMS.
    pub subject: Option<String>,
    /// Files of an MMS, in order.
    pub media: Vec<Media>,
    /// Parts that the text was billed as; at least 1.
    pub segments: i32,
    /// `type` of the message.
    pub kind: MessageKind,
    /// `STOP`, `START` or `HELP` if the provider has already answered for us. We must not send a
    /// second answer. See
    /// <https://developers.telnyx.com/docs/messaging/messages/advanced-opt-in-out>.
    pub autoresponse: Option<String>,
}

/// The `type` of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A text message.
    Sms,
    /// A message with files, or to several recipients.
    Mms,
    /// RCS, WhatsApp, or a newer kind that this program does not know.
    Other,
}

/// A file of a message. The provider keeps it for 30 days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Media {
    /// Where the provider serves the file.
    pub url: String,
    /// MIME type, if the event says it.
    pub content_type: Option<String>,
    /// Size in bytes, if the event says it.
    pub size: Option<i64>,
    /// Digest in hexadecimal, as received.
    pub sha256: Option<String>,
}

/// The state of a message that we sent. Updates arrive in any order and more than once:
/// `occurred_at` says which is newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryUpdate {
    /// Id of the event: the same in every delivery attempt.
    pub event_id: String,
    /// `None` if the event has no time that can be read.
    pub occurred_at: Option<DateTime<Utc>>,
    /// Id of the message: the same in every event of this message.
    pub provider_message_id: String,
    /// Our number that sent the message.
    pub from: String,
    /// How far the message has come.
    pub stage: DeliveryStage,
    /// Recipient and status as received (`queued`, `sent`, `delivered`, `delivery_failed`, ...), of
    /// `to`, then `cc`. Recipients without a status are left out, so the list may be empty.
    pub statuses: Vec<(String, String)>,
    /// Code and title of the first error, such as `40008 Undeliverable`. Decide by the code: titles
    /// differ between the provider's pages
    /// (<https://developers.telnyx.com/docs/messaging/messages/error-codes>).
    pub error: Option<String>,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStage {
    /// The provider has given the message to the carrier.
    Sent,
    /// Every recipient has a final status.
    Finalized,
}

/// Why a body with a valid signature is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says it")]
pub enum MalformedEvent {
    #[error("the body is not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    #[error("the body is not a JSON object")]
    NotAnObject,
}

impl MalformedEvent {
    /// The reason as a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotJson { .. } => "not_json",
            Self::NotAnObject => "not_an_object",
        }
    }
}

/// Why an event cannot be applied. The names are paths in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says it")]
pub enum Unreadable {
    #[error("`{0}` is missing, empty or of the wrong type")]
    Missing(&'static str),
    #[error("`{0}` has more than {MAX_ENTRIES} entries")]
    TooMany(&'static str),
}

/// Parses a body whose signature was verified, as far as it can be read. If a member occurs twice,
/// the last one counts. NUL characters, which PostgreSQL cannot store, become U+FFFD in every
/// string.
///
/// # Errors
///
/// [`MalformedEvent`] if the body is not a JSON object, not even a damaged one.
pub fn parse(body: &[u8]) -> Result<Event, MalformedEvent> {
    let root = object(body)?;
    let Some(data) = root.get("data").and_then(Value::as_object) else {
        return Ok(without_envelope(root));
    };
    let Some(event_type) = type_name(data.get("event_type")) else {
        let fault = Unreadable::Missing("data.event_type");
        return Ok(Event::Unreadable { event_id: event_id(data), fault });
    };
    let read = match event_type.as_str() {
        "message.received" if !has_direction(data, "outbound") => {
            inbound_message(data).map(Event::MessageReceived)
        }
        "message.sent" if !has_direction(data, "inbound") => {
            delivery_update(data, DeliveryStage::Sent).map(Event::DeliveryUpdate)
        }
        "message.finalized" if !has_direction(data, "inbound") => {
            delivery_update(data, DeliveryStage::Finalized).map(Event::DeliveryUpdate)
        }
        _ => Ok(Event::Other { id: identifier(data.get("id")), event_type }),
    };
    Ok(read.unwrap_or_else(|fault| Event::Unreadable { event_id: event_id(data), fault }))
}

/// The digest of a body without `meta`, which counts the attempts. It is the same in every delivery
/// attempt of an event, and differs between two events, also if they have the same id.
///
/// # Errors
///
/// Those of [`parse`].
pub fn content_digest(body: &[u8]) -> Result<String, MalformedEvent> {
    object(body).map(digest_of_content)
}

fn digest_of_content(mut root: Object) -> String {
    root.remove("meta");
    digest_of(&root)
}

type Object = Map<String, Value>;

fn object(body: &[u8]) -> Result<Object, MalformedEvent> {
    let root: Value = match serde_json::from_slice(body) {
        Ok(root) => root,
        Err(_) => serde_json::from_str(&repair::repaired(body)).map_err(|error| {
            MalformedEvent::NotJson { line: error.line(), column: error.column() }
        })?,
    };
    match root {
        Value::Object(root) => Ok(root),
        _ => Err(MalformedEvent::NotAnObject),
    }
}

/// Link-click callbacks have no envelope, and have their type in `record_type`. Events and messages
/// do not.
fn without_envelope(root: Object) -> Event {
    let record_type = type_name(root.get("record_type"));
    let known = record_type.filter(|name| !matches!(name.as_str(), "event" | "message"));
    match known {
        Some(event_type) if !root.contains_key("data") => Event::Other { id: None, event_type },
        _ => {
            let event_id = digest_of_content(root);
            Event::Unreadable { event_id, fault: Unreadable::Missing("data") }
        }
    }
}

/// The type in lower case and without white space around it.
fn type_name(value: Option<&Value>) -> Option<String> {
    let name = label(value)?.trim().to_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}

fn has_direction(data: &Object, direction: &str) -> bool {
    let payload = data.get("payload").and_then(Value::as_object);
    payload.and_then(|payload| payload.get("direction")).and_then(Value::as_str) == Some(direction)
}

fn inbound_message(data: &Object) -> Result<InboundMessage, Unreadable> {
    let payload = payload(data)?;
    let mut recipients = Vec::new();
    for entry in receivers(payload)? {
        if let Some(number) = address(entry).filter(|number| !recipients.contains(number)) {
            recipients.push(number);
        }
    }
    if recipients.is_empty() {
        return Err(Unreadable::Missing("data.payload.to"));
    }
    Ok(InboundMessage {
        event_id: event_id(data),
        occurred_at: occurred_at(data, payload),
        provider_message_id: identifier(payload.get("id")),
        from: sender(payload).unwrap_or_else(|| UNKNOWN_SENDER.to_owned()),
        recipients,
        body: message_text(payload),
        subject: text(payload.get("subject")),
        media: entries(payload, "media", "data.payload.media")?.iter().filter_map(media).collect(),
        segments: segments(payload.get("parts")),
        kind: kind(payload.get("type")),
        autoresponse: label(payload.get("autoresponse_type")),
    })
}

fn delivery_update(data: &Object, stage: DeliveryStage) -> Result<DeliveryUpdate, Unreadable> {
    let payload = payload(data)?;
    let mut statuses = Vec::new();
    for entry in receivers(payload)? {
        if let (Some(number), Some(status)) = (address(entry), label(entry.get("status"))) {
            statuses.push((number, status));
        }
    }
    Ok(DeliveryUpdate {
        event_id: event_id(data),
        occurred_at: occurred_at(data, payload),
        provider_message_id: identifier(payload.get("id"))
            .ok_or(Unreadable::Missing("data.payload.id"))?,
        from: sender(payload).ok_or(Unreadable::Missing("data.payload.from"))?,
        stage,
        statuses,
        error: first_error(payload.get("errors")),
    })
}

fn payload(data: &Object) -> Result<&Object, Unreadable> {
    data.get("payload").and_then(Value::as_object).ok_or(Unreadable::Missing("data.payload"))
}

/// The event's own id. Without one it is the digest of all its data, which is the same in every
/// delivery attempt.
fn event_id(data: &Object) -> String {
    identifier(data.get("id")).unwrap_or_else(|| digest_of(data))
}

/// An id is a text that is not blank. Numbers and truth values are no ids: `0` or `true` could
/// occur in many events, and all but the first would count as duplicates.
fn identifier(value: Option<&Value>) -> Option<String> {
    text(value).filter(|id| !id.trim().is_empty()).map(bounded)
}

fn bounded(text: String) -> String {
    let is_short = text.chars().nth(MAX_ID_CHARS).is_none();
    if is_short { text } else { digest(&text) }
}

/// Prefix of ids that are our digests.
pub(super) const DIGEST: &str = "sha256:";

fn digest_of(object: &Object) -> String {
    digest(&serde_json::to_string(object).unwrap_or_default())
}

fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    format!("{DIGEST}{}", hex::encode(digest))
}

fn occurred_at(data: &Object, payload: &Object) -> Option<DateTime<Utc>> {
    time(data.get("occurred_at")).or_else(|| time(payload.get("received_at")))
}

fn sender(payload: &Object) -> Option<String> {
    payload.get("from").and_then(address)
}

/// The entries of `to`, then `cc`.
fn receivers(payload: &Object) -> Result<impl Iterator<Item = &Value>, Unreadable> {
    let to = entries(payload, "to", "data.payload.to")?;
    Ok(to.iter().chain(entries(payload, "cc", "data.payload.cc")?))
}

/// A list, or a single value that stands for a list of one: WhatsApp messages have a plain string
/// in `to`.
fn entries<'a>(
    object: &'a Object,
    member: &str,
    path: &'static str,
) -> Result<&'a [Value], Unreadable> {
    let entries = match object.get(member) {
        None | Some(Value::Null) => &[],
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    if entries.len() > MAX_ENTRIES { Err(Unreadable::TooMany(path)) } else { Ok(entries) }
}

/// The number of a sender or receiver: an object, or the number alone. An RCS agent has an id
/// instead of a number
/// (<https://developers.telnyx.com/docs/messaging/messages/receiving-rcs-webhooks>).
fn address(entry: &Value) -> Option<String> {
    let written = |value: Option<&Value>| match value? {
        number @ Value::Number(_) => Some(number.to_string()),
        other => identifier(Some(other)),
    };
    let address = written(Some(entry))
        .or_else(|| written(entry.get("phone_number")))
        .or_else(|| written(entry.get("agent_id")))?;
    Some(canonical_address(&address))
}

/// SMS and MMS have `text`, RCS has `body.text` and WhatsApp `body.text.body`.
fn message_text(payload: &Object) -> String {
    let plain = payload.get("text");
    let rich = payload.get("body").and_then(|body| body.get("text"));
    // A list or an object instead of the text is shown as it came.
    let odd = || plain.filter(|text| text.is_array() || text.is_object()).map(Value::to_string);
    scalar(plain)
        .or_else(|| scalar(rich))
        .or_else(|| scalar(rich.and_then(|rich| rich.get("body"))))
        .or_else(odd)
        .unwrap_or_default()
}

/// A media entry: an object, or the link alone. `None` for an entry without a link, because it
/// leads to no file.
fn media(entry: &Value) -> Option<Media> {
    Some(Media {
        url: text(Some(entry)).or_else(|| text(entry.get("url")))?,
        content_type: label(entry.get("content_type")),
        size: entry.get("size").and_then(Value::as_i64).filter(|size| *size >= 0),
        // The guides call the member `sha256`, the types in the provider's libraries `hash_sha256`.
        sha256: label(entry.get("sha256")).or_else(|| label(entry.get("hash_sha256"))),
    })
}

fn segments(parts: Option<&Value>) -> i32 {
    let parts = parts.and_then(Value::as_i64).unwrap_or(1).max(1);
    i32::try_from(parts).unwrap_or(i32::MAX)
}

fn kind(kind: Option<&Value>) -> MessageKind {
    match kind.and_then(Value::as_str) {
        Some(kind) if kind.eq_ignore_ascii_case("sms") => MessageKind::Sms,
        Some(kind) if kind.eq_ignore_ascii_case("mms") => MessageKind::Mms,
        _ => MessageKind::Other,
    }
}

fn first_error(errors: Option<&Value>) -> Option<String> {
    let first = errors?.as_array()?.first()?;
    let code = first.get("code");
    let code = label(code).or_else(|| code?.as_u64().map(|code| code.to_string()));
    match (code, label(first.get("title"))) {
        (Some(code), Some(title)) => Some(format!("{code} {title}")),
        (code, title) => code.or(title),
    }
}

/// A non-empty string without NUL characters, which PostgreSQL cannot store.
fn text(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str().filter(|text| !text.is_empty())?;
    Some(text.replace('\0', "\u{fffd}"))
}

/// A non-empty string, or the text of a number or a truth value.
fn scalar(value: Option<&Value>) -> Option<String> {
    match value? {
        odd @ (Value::Number(_) | Value::Bool(_)) => Some(odd.to_string()),
        other => text(Some(other)),
    }
}

fn label(value: Option<&Value>) -> Option<String> {
    text(value).map(|label| label.chars().take(MAX_LABEL_CHARS).collect())
}

#[cfg(test)]
mod tests;
