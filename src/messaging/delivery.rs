//! Delivery reports for sent messages. Reports arrive in any order and any number of times. A
//! message never goes back to an earlier state.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use sea_orm::{TransactionSession, TransactionTrait};

use super::entities::{conversation_messages as messages, inbound_events as events};
use crate::tenant_router::TenantDb;

/// A provider's report on a message.
#[derive(Clone, Debug)]
pub struct DeliveryReport<'a> {
    /// The provider's id of the event; the same id again changes nothing.
    pub event_id: &'a str,
    /// `message.sent` or `message.finalized`.
    pub event_type: &'a str,
    /// The provider's id of the message.
    pub provider_message_id: &'a str,
    /// The state of each recipient, in the provider's words.
    pub statuses: Vec<&'a str>,
    /// Code and title of the report's first error.
    pub error: Option<&'a str>,
    /// When the reported event happened.
    pub occurred_at: DateTime<Utc>,
}

/// The effect of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The report is recorded, and the message is in its newest known state.
    Recorded,
    /// The event's id was known; nothing changed.
    Duplicate,
    /// No message of this tenant has the provider's message id.
    UnknownMessage,
}

/// The position of a state in a message's life. An unknown state has none, and moves no message.
fn rank(status: &str) -> Option<u8> {
    match status {
        "queued" => Some(0),
        "sending" => Some(1),
        "sent" => Some(2),
        "sending_failed" | "delivery_failed" | "delivery_unconfirmed" | "expired" | "delivered" => {
            Some(3)
        }
        "read" => Some(4),
        _ => None,
    }
}

/// The state of a message to several recipients is the worst of theirs: a failure before a success,
/// and without a failure the earliest state.
fn overall<'a>(statuses: &[&'a str]) -> Option<&'a str> {
    let failed = |status: &str| matches!(status, "sending_failed" | "delivery_failed" | "expired");
    let known = statuses.iter().copied().filter(|status| rank(status).is_some());
    known.min_by_key(|status| (!failed(status), rank(status)))
}

/// Records a report and moves its message forward.
pub async fn record(
    db: &TenantDb,
    report: DeliveryReport<'_>,
    now: DateTime<Utc>,
) -> Result<Reported, DbErr> {
    let transaction = db.begin().await?;
    let message = messages::Entity::find()
        .filter(messages::Column::ProviderMessageId.eq(report.provider_message_id))
        .filter(messages::Column::Direction.eq("outbound"))
        .lock_exclusive()
        .one(&transaction)
        .await?;
    let Some(message) = message else {
        transaction.rollback().await?;
        return Ok(Reported::UnknownMessage);
    };
    let event = events::ActiveModel {
        provider_event_id: Set(super::event_key(report.event_id)),
        event_type: Set(report.event_type.to_owned()),
        occurred_at: Set(report.occurred_at),
        received_at: Set(now),
    };
    let once = OnConflict::column(events::Column::ProviderEventId).do_nothing().to_owned();
    let inserted = events::Entity::insert(event)
        .on_conflict(once)
        .exec_without_returning(&transaction)
        .await?;
    if inserted == 0 {
        transaction.rollback().await?;
        return Ok(Reported::Duplicate);
    }
    if let Some(status) = overall(&report.statuses).filter(|s| rank(s) > rank(&message.status)) {
        let change = messages::ActiveModel {
            status: Set(status.to_owned()),
            error: Set(report.error.map(str::to_owned)),
            ..Default::default()
        };
        messages::Entity::update_many()
            .set(change)
            .filter(messages::Column::Id.eq(message.id))
            .exec(&transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(Reported::Recorded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_recipient_is_not_hidden_by_the_others() {
        assert_eq!(overall(&["delivered", "delivery_failed"]), Some("delivery_failed"));
        assert_eq!(overall(&["delivered", "sent"]), Some("sent"));
        assert_eq!(overall(&["delivered", "read"]), Some("delivered"));
        assert_eq!(overall(&["no_such_state"]), None);
        assert_eq!(overall(&[]), None);
    }
}
