use axum::Json;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::Code;
use crate::http::extract::permission::ConversationsRead;
use crate::http::extract::{Authorized, Id, ListParameters, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::conversations::{self, ConversationMessage};

#[derive(Serialize, ToSchema)]
pub(crate) struct MessageDocument {
    id: Uuid,
    conversation_id: Uuid,
    /// `inbound` or `outbound`.
    direction: String,
    /// Subject of a multimedia message.
    subject: Option<String>,
    body: String,
    /// Attachments: `url`, `content_type`, `size`, `sha256`.
    #[schema(value_type = Vec<Object>)]
    media: serde_json::Value,
    /// The other recipients of a group message.
    #[schema(value_type = Vec<String>)]
    recipients: serde_json::Value,
    status: String,
    /// Parts in which the message was sent or received.
    segments: i32,
    provider_message_id: Option<String>,
    error: Option<String>,
    /// The member of staff who wrote it.
    sent_by: Option<Uuid>,
    occurred_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

impl From<ConversationMessage> for MessageDocument {
    fn from(ConversationMessage { row: message, recipients }: ConversationMessage) -> Self {
        Self {
            id: message.id,
            conversation_id: message.conversation_id,
            direction: message.direction,
            subject: message.subject,
            body: message.body,
            media: message.media,
            recipients,
            status: message.status,
            segments: message.segments,
            provider_message_id: message.provider_message_id,
            error: message.error,
            sent_by: message.sent_by,
            occurred_at: message.occurred_at,
            created_at: message.created_at,
        }
    }
}

/// The messages of a conversation, newest first.
#[utoipa::path(
    get,
    path = "/v1/conversations/{id}/messages",
    tag = "Conversations",
    params(("id" = Uuid, Path), ListParameters),
    responses(
        (status = 200, description = "A part of the list.", body = PageDocument<MessageDocument>),
        TenantProblems,
    ),
    security(("token" = [])),
)]
pub(crate) async fn list_messages(
    access: Authorized<ConversationsRead>,
    Id(id): Id,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<MessageDocument>>, Problem> {
    let db = access.connect().await?;
    let messages = conversations::messages(&db, id, page).await?.ok_or(Code::NotFound)?;
    Ok(PageDocument::from_page(messages))
}
