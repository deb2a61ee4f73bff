//! Inbound messages: event id, message id, conversation and message are stored together, in one
//! statement.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, TransactionSession, TransactionTrait};
use uuid::Uuid;

use super::{conversations, event_key, knows_hand_overs};
use crate::identifiers::new_id;
use crate::tenant_router::{OnTenant, TenantDb};

/// Characters of a message that a list of conversations shows.
const PREVIEW_CHARS: usize = 140;

/// An inbound message as the provider sent it.
#[derive(Clone, Debug)]
pub struct InboundText<'a> {
    /// The provider's id of the event; the same id again changes nothing.
    pub event_id: &'a str,
    /// The provider's id of the message; the same id in another event changes nothing.
    pub provider_message_id: Option<&'a str>,
    /// The sender: a number in E.164, a short code, or a name.
    pub from: &'a str,
    /// The tenant's number that the message was sent to.
    pub to: &'a str,
    /// The other recipients of a group message.
    pub other_recipients: Vec<String>,
    /// Subject of a multimedia message.
    pub subject: Option<&'a str>,
    /// Text of the message; may be empty.
    pub body: &'a str,
    /// Attachments, as a JSON array.
    pub media: serde_json::Value,
    /// Number of parts, as the provider counted them.
    pub segments: i32,
    /// When the message was sent.
    pub occurred_at: DateTime<Utc>,
}

/// The effect of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The event was new, and its message is stored.
    Stored,
    /// The id of the event or of the message was known; no message was stored.
    Duplicate,
}

/// Stores a message: the statement of [`store`], public for measurements. All later parts depend on
/// the first inserts. If the id of the message is known, or the id of the event for a message
/// without one, no row reaches them. An earlier version recorded only the event's id. A message
/// that was sent before its number changed hands belongs to the conversation that ended then. Two
/// simultaneous deliveries of one message meet at the primary key, and the second waits for the
/// first to commit. Until then the member's row is locked against a change of its number, and the
/// number (`number_lock`) against a member who takes it. The result, for a stored message, is
/// whether the conversation has no member.
pub const STORE: &str = concat!(
    "
WITH event_id AS (
    INSERT INTO inbound_events (provider_event_id, event_type, occurred_at, received_at)
    VALUES ($1::text, 'message.received', $2::timestamptz, $3::timestamptz)
    ON CONFLICT DO NOTHING
    RETURNING 1
), message_id AS (
    INSERT INTO inbound_events (provider_event_id, event_type, occurred_at, received_at)
    SELECT 'message:' || $12::text, 'message.received', $2, $3 WHERE $12 IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING 1
), event AS (
    SELECT WHERE CASE WHEN $12 IS NULL THEN EXISTS (SELECT FROM event_id) ELSE EXISTS (SELECT FROM message_id) END
        AND NOT EXISTS (SELECT FROM conversation_messages WHERE provider_message_id = $12 AND direction = 'inbound')
), number AS MATERIALIZED (
    SELECT ",
    number_lock!("$5"),
    " FROM event
), former AS (
    SELECT conversations.id FROM conversations, number
    WHERE contact_number = $5 AND phone_number = $6 AND (to_jsonb(conversations) ->> 'ended_at')::timestamptz > $2
    ORDER BY (to_jsonb(conversations) ->> 'ended_at')::timestamptz LIMIT 1
), late AS (
    UPDATE conversations SET
        unread_count = unread_count + 1,
        last_message_preview = CASE WHEN $2 >= last_message_at THEN $7 ELSE last_message_preview END,
        last_message_at = GREATEST(last_message_at, $2)
    FROM former WHERE conversations.id = former.id
    RETURNING conversations.id
), conversation AS (
    INSERT INTO conversations (id, contact_number, phone_number, member_id, status, unread_count,
                               last_message_at, last_message_preview, created_at)
    SELECT $4, $5, $6, (SELECT id FROM members WHERE phone_number = $5 FOR KEY SHARE), 'open', 1, $2, $7, $3 FROM number
    WHERE NOT EXISTS (SELECT FROM former)
    ON CONFLICT ON CONSTRAINT conversations_pair DO UPDATE SET
        member_id = COALESCE(EXCLUDED.member_id, conversations.member_id),
        status = 'open',
        unread_count = conversations.unread_count + 1,
        last_message_at = GREATEST(conversations.last_message_at, EXCLUDED.last_message_at),
        last_message_preview = CASE WHEN EXCLUDED.last_message_at >= conversations.last_message_at
            THEN EXCLUDED.last_message_preview ELSE conversations.last_message_preview END
    RETURNING id, member_id
)
INSERT INTO conversation_messages (id, conversation_id, direction, body, media, status, segments,
                                   provider_message_id, subject, occurred_at, created_at)
SELECT $8, place.id, 'inbound', $9, $10, 'received', $11, $12, $13, $2, $3
FROM (SELECT id FROM late UNION ALL SELECT id FROM conversation) place
RETURNING COALESCE((SELECT member_id IS NULL FROM conversation), false)
"
);

const KEEP_RECIPIENTS: &str = "UPDATE conversation_messages SET recipients = $2 WHERE id = $1";

/// Stores a message in its conversation. The conversation is opened or reopened.
pub async fn store(
    db: &TenantDb,
    text: InboundText<'_>,
    now: DateTime<Utc>,
) -> Result<Applied, DbErr> {
    let id = new_id();
    let stored = if text.other_recipients.is_empty() || !knows_hand_overs(db) {
        write(db, id, &text, now).await?
    } else {
        let transaction = db.begin().await?;
        let stored = write(&transaction, id, &text, now).await?;
        let values = [id.into(), text.other_recipients.clone().into()];
        let keep = Statement::from_sql_and_values(DbBackend::Postgres, KEEP_RECIPIENTS, values);
        transaction.execute_raw(keep).await?;
        transaction.commit().await?;
        stored
    };
    // An earlier attempt may have stopped before the link.
    if stored.as_ref().is_none_or(|stored| stored.is_with_nobody) {
        conversations::link_holder(db, text.from).await?;
    }
    Ok(stored.map_or(Applied::Duplicate, |_| Applied::Stored))
}

struct Stored {
    is_with_nobody: bool,
}

/// `None`: the event or the message was known.
async fn write(
    db: &impl OnTenant,
    id: Uuid,
    text: &InboundText<'_>,
    now: DateTime<Utc>,
) -> Result<Option<Stored>, DbErr> {
    let event_id = event_key(text.event_id);
    let values: Vec<sea_orm::Value> = vec![
        event_id.into(),
        text.occurred_at.into(),
        now.into(),
        new_id().into(),
        text.from.into(),
        text.to.into(),
        preview(text).into(),
        id.into(),
        text.body.into(),
        text.media.clone().into(),
        text.segments.into(),
        text.provider_message_id.into(),
        text.subject.into(),
    ];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, STORE, values);
    let row = db.query_one_raw(statement).await?;
    row.map(|row| Ok(Stored { is_with_nobody: row.try_get_by_index(0)? })).transpose()
}

fn preview(text: &InboundText<'_>) -> String {
    if text.body.trim().is_empty() && text.media.as_array().is_some_and(|media| !media.is_empty()) {
        return "[attachment]".to_owned();
    }
    text.body.chars().take(PREVIEW_CHARS).collect()
}
