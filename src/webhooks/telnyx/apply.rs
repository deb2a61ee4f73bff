//! From an event to the tenant it belongs to, and into its database.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::event::{DeliveryStage, DeliveryUpdate, Event, InboundMessage};
use super::{Receipt, TelnyxWebhooks};
use crate::identifiers::TenantId;
use crate::messaging::delivery::{self, DeliveryReport, Reported};
use crate::messaging::inbound::{self, Applied, InboundText};
use crate::postgres::failure;
use crate::registry::tenants::Tenant;
use crate::tenant_router::RouterError;

/// Why an event cannot be written to its tenant now.
#[derive(Debug, thiserror::Error)]
pub enum Undeliverable {
    /// No tenant holds, or held, the number.
    #[error("no tenant holds the number")]
    UnknownNumber,
    /// The tenant is suspended, deleted or not made yet.
    #[error("the tenant is not active")]
    TenantNotActive,
    /// The tenant's database cannot be reached, or is busy.
    #[error("the tenant's database is not available: {0}")]
    TenantUnavailable(String),
    /// The registry cannot be asked whose number it is.
    #[error("the registry is not available: {0}")]
    RegistryUnavailable(String),
    /// The provider would not wait any longer.
    #[error("it took too long")]
    DeadlinePassed,
    /// The tenant's database refused what was to be written: a fault of ours, or of the event.
    #[error("the tenant's database refused the event: {0}")]
    StatementFailed(String),
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
        }
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
    /// Writes an event to its tenant. Doing it again changes nothing.
    pub(super) async fn deliver(&self, event: &Event) -> Result<Receipt, Undeliverable> {
        match event {
            Event::MessageReceived(message) => self.deliver_message(message).await,
            Event::DeliveryUpdate(update) => self.deliver_report(update).await,
            Event::Other { .. } => Ok(Receipt::Ignored),
        }
    }

    /// A group message can reach several tenants. It is delivered when each of them has it; where one fails, the
    /// whole event waits, and those who have it already see a duplicate the next time.
    async fn deliver_message(&self, message: &InboundMessage) -> Result<Receipt, Undeliverable> {
        let mut holders = self.holders(&message.recipients, message.occurred_at).await?;
        if holders.is_empty() {
            return Err(Undeliverable::UnknownNumber);
        }
        // To two numbers of one tenant it is one message, in the conversation with the first of them.
        let mut seen = HashSet::new();
        holders.retain(|(_, id)| seen.insert(*id));
        // Every one of them is tried: what one tenant cannot take is no reason for another to wait.
        let mut receipt = Ok(Receipt::Duplicate);
        for (number, id) in &holders {
            match self.store(*id, number, message).await {
                Ok(Applied::Stored) => receipt = receipt.map(|_| Receipt::Accepted),
                Ok(Applied::Duplicate) => {}
                Err(failure) => receipt = Err(failure),
            }
        }
        receipt
    }

    async fn store(
        &self,
        id: TenantId,
        number: &str,
        message: &InboundMessage,
    ) -> Result<Applied, Undeliverable> {
        let tenant = self.tenant(id).await?;
        let text = InboundText {
            event_id: &message.event_id,
            subject: message.subject.as_deref(),
            provider_message_id: &message.provider_message_id,
            from: &message.from,
            to: number,
            body: &message.body,
            media: serde_json::to_value(&message.media)
                .map_err(|e| Undeliverable::StatementFailed(e.to_string()))?,
            segments: message.segments,
            occurred_at: message.occurred_at,
        };
        let db = self.router.connect_urgently(&tenant).await?;
        Ok(inbound::store(&db, text, self.clock.now()).await?)
    }

    async fn deliver_report(&self, update: &DeliveryUpdate) -> Result<Receipt, Undeliverable> {
        let from = std::slice::from_ref(&update.from);
        let holders = self.holders(from, update.occurred_at).await?;
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
            occurred_at: update.occurred_at,
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
        at: DateTime<Utc>,
    ) -> Result<Vec<(String, TenantId)>, Undeliverable> {
        Ok(self.router.directory().holders_of_numbers(numbers, at).await?)
    }

    async fn tenant(&self, id: TenantId) -> Result<Arc<Tenant>, Undeliverable> {
        self.router.directory().tenant(id).await?.ok_or(Undeliverable::TenantNotActive)
    }
}
