//! Applies an event: finds its tenants and writes to their databases.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::event::{DeliveryStage, DeliveryUpdate, Event, InboundMessage, Unreadable};
use super::{Receipt, TelnyxWebhooks};
use crate::identifiers::TenantId;
use crate::messaging::delivery::{self, DeliveryReport, Reported};
use crate::messaging::inbound::{self, Applied, InboundText};
use crate::postgres::failure;
use crate::registry::tenants::Tenant;
use crate::registry::tenants::phone_numbers::EventTime;
use crate::tenant_router::RouterError;

/// Why an event cannot be written to its tenant now.
#[derive(Debug, thiserror::Error)]
pub enum Undeliverable {
    /// No tenant holds the number, or held it at the time of the event.
    #[error("no tenant holds the number")]
    UnknownNumber,
    /// The tenant is suspended, deleted or not created yet.
    #[error("the tenant is not active")]
    TenantNotActive,
    /// The tenant's database cannot be reached, or is busy.
    #[error("the tenant's database is not available: {0}")]
    TenantUnavailable(String),
    /// The registry cannot say which tenant holds the number.
    #[error("the registry is not available: {0}")]
    RegistryUnavailable(String),
    /// The time limit has passed.
    #[error("it took too long")]
    DeadlinePassed,
    /// The tenant's database refused a statement: an error of ours, or of the event.
    #[error("the tenant's database refused the event: {0}")]
    StatementFailed(String),
    /// The event lacks a required member.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Undeliverable {
    /// A stable name for logs, counters and the parked row.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownNumber => "unknown_number",
            Self::TenantNotActive => "tenant_not_active",
            Self::TenantUnavailable(_) => "tenant_unavailable",
            Self::RegistryUnavailable(_) => "registry_unavailable",
            Self::DeadlinePassed => "deadline_passed",
            Self::StatementFailed(_) => "statement_failed",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// True if the tenant's database refused the event itself.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::StatementFailed(_))
    }
}

impl From<RouterError> for Undeliverable {
    fn from(error: RouterError) -> Self {
        match error {
            RouterError::Registry(error) => Self::RegistryUnavailable(error.to_string()),
            RouterError::Unknown
            | RouterError::Suspended
            | RouterError::Deleted
            | RouterError::Provisioning
            | RouterError::Failed => Self::TenantNotActive,
            RouterError::SchemaOutdated
            | RouterError::Saturated
            | RouterError::PoolBusy
            | RouterError::Unavailable(_) => Self::TenantUnavailable(error.to_string()),
        }
    }
}

impl From<crate::registry::RegistryError> for Undeliverable {
    fn from(error: crate::registry::RegistryError) -> Self {
        Self::RegistryUnavailable(error.to_string())
    }
}

impl From<sea_orm::DbErr> for Undeliverable {
    fn from(error: sea_orm::DbErr) -> Self {
        if failure::is_unavailable(&error) {
            Self::TenantUnavailable(error.to_string())
        } else {
            Self::StatementFailed(error.to_string())
        }
    }
}

impl TelnyxWebhooks {
    /// Writes an event to its tenants before `until`. A repetition changes nothing.
    pub(super) async fn deliver(
        &self,
        event: &Event,
        received_at: DateTime<Utc>,
        until: Instant,
    ) -> Result<Receipt, Undeliverable> {
        match event {
            Event::MessageReceived(message) => {
                self.deliver_message(message, received_at, until).await
            }
            Event::DeliveryUpdate(update) => {
                in_time(until, self.deliver_report(update, received_at)).await
            }
            Event::Unreadable { fault, .. } => Err((*fault).into()),
            Event::Other { .. } => Ok(Receipt::Ignored),
        }
    }

    /// Delivers a message. A group message can reach several tenants, and each gets it as if it
    /// were alone. It is delivered when all of them have it. If one fails, the whole event is
    /// parked, and tenants that have it see a duplicate the next time.
    async fn deliver_message(
        &self,
        message: &InboundMessage,
        received_at: DateTime<Utc>,
        until: Instant,
    ) -> Result<Receipt, Undeliverable> {
        let time = event_time(message.occurred_at, received_at);
        let mut holders = in_time(until, self.holders(&message.recipients, time)).await?;
        if holders.is_empty() {
            return Err(Undeliverable::UnknownNumber);
        }
        // For two numbers of one tenant it is one message, in the conversation with the first
        // number.
        let mut seen = HashSet::new();
        holders.retain(|(_, id)| seen.insert(*id));
        let stores = holders
            .iter()
            .map(|(number, id)| in_time(until, self.store(*id, number, message, time.occurred_at)));
        let (mut receipt, mut failure) = (Receipt::Duplicate, None);
        for stored in join_all(stores).await {
            match stored {
                Ok(Applied::Stored) => receipt = Receipt::Accepted,
                Ok(Applied::Duplicate) => {}
                // A transient error counts more than a refusal: a tenant that refuses for good must
                // not end the attempts for a tenant that is only unavailable.
                Err(next) => {
                    if failure.as_ref().is_none_or(Undeliverable::is_refusal) {
                        failure = Some(next);
                    }
                }
            }
        }
        failure.map_or(Ok(receipt), Err)
    }

    async fn store(
        &self,
        id: TenantId,
        number: &str,
        message: &InboundMessage,
        occurred_at: DateTime<Utc>,
    ) -> Result<Applied, Undeliverable> {
        let tenant = self.tenant(id).await?;
        let others = message.recipients.iter().filter(|other| *other != number).cloned();
        let text = InboundText {
            event_id: &message.event_id,
            subject: message.subject.as_deref(),
            provider_message_id: message.provider_message_id.as_deref(),
            from: &message.from,
            to: number,
            other_recipients: others.collect(),
            body: &message.body,
            media: serde_json::to_value(&message.media)
                .map_err(|e| Undeliverable::StatementFailed(e.to_string()))?,
            segments: message.segments,
            occurred_at,
        };
        let db = self.router.connect_urgently(&tenant).await?;
        Ok(inbound::store(&db, text, self.clock.now()).await?)
    }

    async fn deliver_report(
        &self,
        update: &DeliveryUpdate,
        received_at: DateTime<Utc>,
    ) -> Result<Receipt, Undeliverable> {
        let time = event_time(update.occurred_at, received_at);
        let holders = self.holders(std::slice::from_ref(&update.from), time).await?;
        let Some((_, id)) = holders.first() else {
            return Ok(Receipt::Ignored);
        };
        let tenant = self.tenant(*id).await?;
        let report = DeliveryReport {
            event_id: &update.event_id,
            event_type: match update.stage {
                DeliveryStage::Sent => "message.sent",
                DeliveryStage::Finalized => "message.finalized",
            },
            provider_message_id: &update.provider_message_id,
            statuses: update.statuses.iter().map(|(_, status)| status.as_str()).collect(),
            error: update.error.as_deref(),
            occurred_at: time.occurred_at,
        };
        let db = self.router.connect_urgently(&tenant).await?;
        Ok(match delivery::record(&db, report, self.clock.now()).await? {
            Reported::Recorded => Receipt::Accepted,
            Reported::Duplicate => Receipt::Duplicate,
            Reported::UnknownMessage => Receipt::Ignored,
        })
    }

    async fn holders(
        &self,
        numbers: &[String],
        time: EventTime,
    ) -> Result<Vec<(String, TenantId)>, Undeliverable> {
        Ok(self.router.directory().holders_of_numbers(numbers, time).await?)
    }

    async fn tenant(&self, id: TenantId) -> Result<Arc<Tenant>, Undeliverable> {
        self.router.directory().tenant(id).await?.ok_or(Undeliverable::TenantNotActive)
    }
}

/// The time of an event without a time is its arrival. No event counts as later than its arrival.
fn event_time(occurred_at: Option<DateTime<Utc>>, received_at: DateTime<Utc>) -> EventTime {
    let occurred_at = occurred_at.map_or(received_at, |at| at.min(received_at));
    EventTime { occurred_at, received_at }
}

async fn in_time<T>(
    until: Instant,
    work: impl Future<Output = Result<T, Undeliverable>>,
) -> Result<T, Undeliverable> {
    timeout_at(until, work).await.unwrap_or(Err(Undeliverable::DeadlinePassed))
}
