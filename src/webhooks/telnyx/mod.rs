//! Telnyx: verify the signature, parse the event, find the tenant, write once. An event that cannot
//! be written to its tenant now is parked in the registry. Only an event that cannot be stored
//! anywhere is refused, so that the sender tries again. The content is never a reason to refuse: an
//! event that cannot be applied waits for a person.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::limits::ComputePermits;
use crate::registry::inbox::parked_events::{self, NewParkedEvent, Status};
use crate::registry::{Registry, RegistryError};
use crate::tenant_router::TenantRouter;

mod apply;
pub mod event;
mod redelivery;
pub mod sample;
pub mod signature;

pub use apply::Undeliverable;

use event::{Event, MalformedEvent};
use signature::{PublicKey, SignatureError, Signed};

/// The provider's name in parked events.
pub const PROVIDER: &str = "telnyx";
/// Time limit for parking. The provider waits 2 s for an answer, and the deadline of the delivery
/// uses the rest.
const PARKING_DEADLINE: Duration = Duration::from_millis(600);

/// Bodies above this many bytes are verified and parsed off the async threads. Up to this size the
/// work takes about as long as the signature of an empty body.
const LARGE_BODY: usize = 64 * 1024;

/// The effect of an event that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Receipt {
    /// Written to its tenant's database.
    Accepted,
    /// Known before; nothing changed.
    Duplicate,
    /// Stored in the registry until its tenant can take it.
    Parked,
    /// Not used by the gateway; nothing was stored.
    Ignored,
}

/// Why an event was not received.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No public key is configured, so no event can be verified.
    #[error("no public key is configured for this provider")]
    NotConfigured,
    /// The signature is not the provider's, or is too old.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The signature is the provider's, but the body is not an event.
    #[error(transparent)]
    Malformed(#[from] MalformedEvent),
    /// Neither the tenant's database nor the registry could store it, or too many large events came
    /// at once.
    #[error("the event could not be stored anywhere: {0}")]
    NotStored(String),
}

/// Receives the provider's events. Clones share everything.
#[derive(Clone)]
pub struct TelnyxWebhooks {
    registry: Registry,
    router: TenantRouter,
    key: Option<PublicKey>,
    deadline: Duration,
    permits: ComputePermits,
    clock: Clock,
}

impl TelnyxWebhooks {
    /// Without a key every event is refused. `deadline`: how long a delivery may take before the
    /// event is parked.
    pub fn new(
        registry: Registry,
        router: TenantRouter,
        key: Option<PublicKey>,
        deadline: Duration,
        clock: Clock,
    ) -> Self {
        Self { registry, router, key, deadline, permits: ComputePermits::default(), clock }
    }

    /// Refuses an event that cannot be the provider's, before its body is read. Takes all values of
    /// the two signature headers.
    ///
    /// # Errors
    ///
    /// Those of [`TelnyxWebhooks::receive`] that do not depend on the body.
    pub fn admit<'a>(
        &self,
        signatures: impl IntoIterator<Item = &'a [u8]>,
        timestamps: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), WebhookError> {
        self.key.as_ref().ok_or(WebhookError::NotConfigured)?;
        signature::check_headers(signatures, timestamps, self.clock.now().timestamp())?;
        Ok(())
    }

    /// Receives an event. Takes all values of the two signature headers, and the exact body.
    pub async fn receive<'a>(
        &self,
        signatures: impl IntoIterator<Item = &'a [u8]>,
        timestamps: impl IntoIterator<Item = &'a [u8]>,
        body: &[u8],
    ) -> Result<Receipt, WebhookError> {
        let key = self.key.as_ref().ok_or(WebhookError::NotConfigured)?;
        let now = self.clock.now();
        let plausible = signature::check_headers(signatures, timestamps, now.timestamp())?;
        let event = self.read(key, plausible.over(body)).await?;
        let reason = match self.deliver(&event, now, Instant::now() + self.deadline).await {
            Ok(receipt) => return Ok(receipt),
            Err(reason) => reason,
        };
        let content = event::content_digest(body)?;
        tokio::time::timeout(PARKING_DEADLINE, self.park(&event, &content, body, &reason, now))
            .await
            .map_err(|_| WebhookError::NotStored("the registry did not answer in time".to_owned()))?
            .map_err(|e| WebhookError::NotStored(e.to_string()))?;
        match reason {
            Undeliverable::Unreadable(fault) => {
                tracing::error!(%fault, "an event cannot be read; a person has to look at it");
            }
            reason => tracing::warn!(reason = reason.name(), "an event is parked"),
        }
        Ok(Receipt::Parked)
    }

    /// Verifies and parses an event; only a few large ones at once.
    async fn read(&self, key: &PublicKey, signed: Signed) -> Result<Event, WebhookError> {
        let (is_large, key) = (signed.body_len() > LARGE_BODY, key.clone());
        let read = move || Ok(event::parse(signed.verify(&key)?)?);
        if !is_large {
            return read();
        }
        let read = self.permits.run(read).await;
        read.map_err(|no_turn| WebhookError::NotStored(no_turn.to_string()))?
    }

    async fn park(
        &self,
        event: &Event,
        content: &str,
        body: &[u8],
        reason: &Undeliverable,
        now: DateTime<Utc>,
    ) -> Result<(), RegistryError> {
        let (event_id, numbers, occurred_at) = match event {
            Event::MessageReceived(message) => {
                (&message.event_id, &*message.recipients, message.occurred_at)
            }
            Event::DeliveryUpdate(update) => {
                (&update.event_id, std::slice::from_ref(&update.from), update.occurred_at)
            }
            Event::Unreadable { event_id, .. } => (event_id, Default::default(), None),
            Event::Other { .. } => return Ok(()),
        };
        let hasher = self.registry.hasher();
        // The digest is keyed, so that nobody can guess the content and check it by hashing.
        let hidden = |digest: &str| hex::encode(hasher.request(digest));
        let event_id = match event_id.starts_with(event::DIGEST) {
            true => hidden(event_id),
            false => event_id.clone(),
        };
        let status = match reason {
            Undeliverable::Unreadable(_) => Status::Failed,
            _ => Status::Waiting,
        };
        let parked = NewParkedEvent {
            provider: PROVIDER,
            provider_event_id: &format!("{event_id}#{}", hidden(content)),
            body,
            number_hashes: numbers.iter().map(|number| hasher.phone_number(number)).collect(),
            reason: reason.name(),
            status,
            occurred_at,
        };
        let db = self.registry.connect().await?;
        parked_events::park(&db, self.registry.sealer(), parked, now).await
    }
}
