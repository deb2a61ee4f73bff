//! Conversations: what was said between one contact and one number of the tenant.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

pub use super::entities::conversation_messages::Model as ConversationMessage;
pub use super::entities::conversations::Model as Conversation;
use super::entities::{conversation_messages, conversations};
use crate::paging::{Page, PageRequest, Position, keyset};
use crate::tenant_router::OnTenant;

/// Which conversations a list holds; what is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct ConversationFilter {
    /// `open` or `closed`.
    pub status: Option<String>,
    /// Those given to this member of staff.
    pub assigned_to: Option<Uuid>,
    /// Those with, or without, something unread.
    pub unread: Option<bool>,
}

/// Conversations, the one with the newest message first.
pub async fn list(
    db: &impl OnTenant,
    filter: ConversationFilter,
    page: PageRequest,
) -> Result<Page<Conversation>, DbErr> {
    use conversations::Column;
    let mut query = conversations::Entity::find()
        .order_by_desc(Column::LastMessageAt)
        .order_by_desc(Column::Id)
        .limit(page.limit + 1);
    if let Some(after) = page.after {
        query =
            query.filter(Expr::cust_with_values("(last_message_at, id) < ($1, $2)", keyset(after)));
    }
    if let Some(status) = filter.status {
        query = query.filter(Column::Status.eq(status));
    }
    if let Some(staff) = filter.assigned_to {
        query = query.filter(Column::AssignedTo.eq(staff));
    }
    query = match filter.unread {
        Some(true) => query.filter(Column::UnreadCount.gt(0)),
        Some(false) => query.filter(Column::UnreadCount.eq(0)),
        None => query,
    };
    let rows = query.all(db).await?;
    Ok(Page::cut(rows, page.limit, |row| Position { at: row.last_message_at, id: row.id }))
}

/// One conversation.
pub async fn find(db: &impl OnTenant, id: Uuid) -> Result<Option<Conversation>, DbErr> {
    conversations::Entity::find_by_id(id).one(db).await
}

/// The messages of a conversation, newest first; `None` where there is no such conversation.
pub async fn messages(
    db: &impl OnTenant,
    conversation: Uuid,
    page: PageRequest,
) -> Result<Option<Page<ConversationMessage>>, DbErr> {
    use conversation_messages::Column;
    if find(db, conversation).await?.is_none() {
        return Ok(None);
    }
    let mut query = conversation_messages::Entity::find()
        .filter(Column::ConversationId.eq(conversation))
        .order_by_desc(Column::OccurredAt)
        .order_by_desc(Column::Id)
        .limit(page.limit + 1);
    if let Some(after) = page.after {
        query = query.filter(Expr::cust_with_values("(occurred_at, id) < ($1, $2)", keyset(after)));
    }
    let rows = query.all(db).await?;
    Ok(Some(Page::cut(rows, page.limit, |row| Position { at: row.occurred_at, id: row.id })))
}
