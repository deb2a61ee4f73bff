//! Conversations: the messages between one contact and one number of the tenant. When the contact's
//! number passes to another person, the conversation ends, and the next message from the number
//! opens a new one.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};
use uuid::Uuid;

use super::entities::{conversation_messages, conversations};
use super::knows_hand_overs;
use crate::paging::{Page, PageRequest, Position, keyset};
use crate::tenant_router::OnTenant;

/// A conversation, whichever schema the tenant has.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Conversation {
    /// The columns that every schema has.
    #[sea_orm(nested)]
    pub row: conversations::Model,
    /// When the contact's number passed to another person. Always `None` if the tenant's schema has
    /// no such column.
    pub ended_at: Option<DateTime<Utc>>,
}

/// A message of a conversation.
#[derive(Clone, Debug, FromQueryResult)]
pub struct ConversationMessage {
    /// The columns that every schema has.
    #[sea_orm(nested)]
    pub row: conversation_messages::Model,
    /// The other recipients of a group message, as a JSON array. Empty if the tenant's schema has
    /// no such column.
    pub recipients: serde_json::Value,
}

/// Columns that the oldest served schema does not have. They are read by name from the whole row,
/// so that they are NULL where the table lacks them.
const ENDED_AT: &str = "(to_jsonb(conversations) ->> 'ended_at')::timestamptz";
const RECIPIENTS: &str = "COALESCE(to_jsonb(conversation_messages) -> 'recipients', '[]')";

/// Conditions of a list of conversations; `None` is no condition.
#[derive(Clone, Debug, Default)]
pub struct ConversationFilter {
    /// `open` or `closed`.
    pub status: Option<String>,
    /// The member of staff to whom the conversation is assigned.
    pub assigned_to: Option<Uuid>,
    /// True for conversations with unread messages, false for those without.
    pub unread: Option<bool>,
}

/// One page of the conversations that meet the filter, the one with the newest message first.
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
    let query = query.expr_as(Expr::cust(ENDED_AT), "ended_at");
    let found: Vec<Conversation> = query.into_model().all(db).await?;
    let position =
        |found: &Conversation| Position { at: found.row.last_message_at, id: found.row.id };
    Ok(Page::cut(found, page.limit, position))
}

/// The conversation with this id.
pub async fn find(db: &impl OnTenant, id: Uuid) -> Result<Option<Conversation>, DbErr> {
    let query = conversations::Entity::find_by_id(id).expr_as(Expr::cust(ENDED_AT), "ended_at");
    query.into_model().one(db).await
}

/// The messages of a conversation, newest first. `None`: there is no such conversation.
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
    let query = query.expr_as(Expr::cust(RECIPIENTS), "recipients");
    let found: Vec<ConversationMessage> = query.into_model().all(db).await?;
    let position =
        |found: &ConversationMessage| Position { at: found.row.occurred_at, id: found.row.id };
    Ok(Some(Page::cut(found, page.limit, position)))
}

const NUMBER_LOCK: &str = concat!("SELECT ", number_lock!("$1"));

const END: &str = "
UPDATE conversations SET ended_at = $3 WHERE ended_at IS NULL AND (member_id = $1 OR contact_number = $2)
";
const END_OTHERS: &str = "
UPDATE conversations SET ended_at = $3 WHERE ended_at IS NULL AND member_id <> $1 AND contact_number = $2
";
const BEGIN: &str = "
UPDATE conversations SET member_id = $1 WHERE ended_at IS NULL AND member_id IS NULL AND contact_number = $2
";
/// In a schema without ends there is one conversation for each number. It belongs to the number's
/// current holder.
const RELINK: &str = "
UPDATE conversations SET member_id = CASE WHEN contact_number = $2 THEN $1 END
WHERE (member_id = $1 OR contact_number = $2) AND to_jsonb(conversations) ->> 'ended_at' IS NULL
";
/// The member's row is locked first, as in a change of the member.
const LINK: &str = "
WITH holder AS (SELECT id FROM members WHERE phone_number = $1 FOR KEY SHARE)
UPDATE conversations SET member_id = holder.id FROM holder
WHERE contact_number = $1 AND member_id IS NULL AND to_jsonb(conversations) ->> 'ended_at' IS NULL
";

/// Waits for messages from the number that are being stored, and blocks later ones until the
/// transaction ends. Call it before a member's row with this number is written.
pub(super) async fn hold_number(db: &impl OnTenant, number: &str) -> Result<(), DbErr> {
    run(db, NUMBER_LOCK, vec![number.into()]).await
}

/// Gives the number's conversations to this member, who has it now. Call it after the member's row
/// is written, in the same transaction. Conversations with an earlier holder end, and stay that
/// member's.
pub(super) async fn take_number(
    db: &impl OnTenant,
    member: Uuid,
    number: &str,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    if knows_hand_overs(db) {
        run(db, END_OTHERS, vec![member.into(), number.into(), now.into()]).await?;
        run(db, BEGIN, vec![member.into(), number.into()]).await
    } else {
        run(db, RELINK, vec![member.into(), number.into()]).await
    }
}

/// Ends all conversations with a number that the member has no longer, also those without a link to
/// the member, because they do not concern the next holder. Call it after the member's row is
/// locked, in the same transaction as the change.
pub(super) async fn leave_number(
    db: &impl OnTenant,
    member: Uuid,
    number: &str,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    if knows_hand_overs(db) {
        run(db, END, vec![member.into(), number.into(), now.into()]).await?;
    }
    Ok(())
}

/// Links a number's conversations to the member who has it. It follows the storing of a message
/// without a member: the storing statement does not see a member who was added while it waited for
/// the number.
pub(super) async fn link_holder(db: &impl OnTenant, number: &str) -> Result<(), DbErr> {
    run(db, LINK, vec![number.into()]).await
}

async fn run(db: &impl OnTenant, sql: &str, values: Vec<sea_orm::Value>) -> Result<(), DbErr> {
    db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, values)).await?;
    Ok(())
}
