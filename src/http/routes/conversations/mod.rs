//! `/v1/conversations`: the messages with contacts.

pub(crate) mod list;
pub(crate) mod messages;
pub(crate) mod show;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::messaging::conversations::Conversation;

#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationDocument {
    id: Uuid,
    /// The contact: a number in E.164, a short code, or a name; `unknown` where the provider names
    /// no sender.
    contact_number: String,
    /// The member with that number. In a conversation that has ended: the member who had the number
    /// then.
    member_id: Option<Uuid>,
    /// The organization's number, or its short code.
    phone_number: String,
    /// `open` or `closed`.
    status: String,
    /// The member of staff who is responsible for it.
    assigned_to: Option<Uuid>,
    unread_count: i32,
    last_message_at: DateTime<Utc>,
    last_message_preview: String,
    /// When the member stopped having the number. Later messages from the number belong to another
    /// conversation.
    ended_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl From<Conversation> for ConversationDocument {
    fn from(Conversation { row: conversation, ended_at }: Conversation) -> Self {
        Self {
            id: conversation.id,
            contact_number: conversation.contact_number,
            member_id: conversation.member_id,
            phone_number: conversation.phone_number,
            status: conversation.status,
            assigned_to: conversation.assigned_to,
            unread_count: conversation.unread_count,
            last_message_at: conversation.last_message_at,
            last_message_preview: conversation.last_message_preview,
            ended_at,
            created_at: conversation.created_at,
        }
    }
}
