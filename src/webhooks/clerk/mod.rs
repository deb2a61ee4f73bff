//! Clerk: its organizations become tenants, and its users become their staff. A delivery is
//! verified, recorded and answered before the work on it. It is applied as facts, so that neither
//! the order nor the number of deliveries matters.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::configuration::CLERK_DELIVERIES_AT_ONCE;
use crate::lifecycle::Lifecycle;
use crate::provisioning::Provisioner;
use crate::registry::inbox::webhook_deliveries::{self, NewDelivery};
use crate::registry::{Registry, RegistryError};
use crate::standard_webhooks::{self, Secret, SignatureError, SignedHeaders};
use crate::tenant_router::TenantRouter;

mod deliver;
pub mod event;
pub mod sample;
mod reconcile;
mod staff_sync;
mod tenant;
mod write;

pub use deliver::Replayed;
pub use staff_sync::role_of;

use event::{Event, MalformedEvent};

/// The id of a delivery, the same in every attempt at it.
pub const ID_HEADER: &str = "svix-id";
/// Unix seconds in decimal digits.
pub const TIMESTAMP_HEADER: &str = "svix-timestamp";
/// See [`SignedHeaders::signatures`].
pub const SIGNATURE_HEADER: &str = "svix-signature";

/// The provider's name in recorded deliveries and in identities of staff.
pub const PROVIDER: &str = "clerk";
/// Deliveries and organizations that one replica works on at once. Each holds a connection to the
/// registry while it is worked on.
const AT_ONCE: usize = CLERK_DELIVERIES_AT_ONCE as usize;
/// How long a delivery belongs to the process that works on it.
const LEASE: Duration = Duration::from_secs(90);
/// Time limit for recording a delivery. The provider waits 15 s for an answer.
const RECORDING_DEADLINE: Duration = Duration::from_secs(5);

/// The effect of a delivery that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ClerkReceipt)]
pub enum Receipt {
    /// Recorded; the work on it has begun or will begin.
    Accepted,
    /// Recorded before; nothing changed.
    Duplicate,
    /// Of a type that the gateway does not use; nothing was stored.
    Ignored,
}

/// Why a delivery was not received.
#[derive(Debug, thiserror::Error)]
pub enum ClerkError {
    /// No secret is configured, so no delivery can be verified.
    #[error("no webhook secret is configured for this provider")]
    NotConfigured,
    /// The signature is not the provider's, or is too old.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The signature is the provider's, but the body is not an event.
    #[error(transparent)]
    Malformed(#[from] MalformedEvent),
    /// The registry could not record it.
    #[error("the delivery could not be recorded: {0}")]
    NotStored(String),
}

/// Receives the provider's deliveries and works on them. Clones share everything.
#[derive(Clone)]
pub struct ClerkWebhooks {
    registry: Registry,
    router: TenantRouter,
    provisioner: Provisioner,
    secret: Option<Secret>,
    permits: Arc<Semaphore>,
    token_life: TimeDelta,
    life: Lifecycle,
    clock: Clock,
}

impl ClerkWebhooks {
    /// Without a secret every delivery is refused. `token_life`: how long an access token of ours
    /// is valid.
    pub fn new(
        registry: Registry,
        router: TenantRouter,
        provisioner: Provisioner,
        secret: Option<Secret>,
        token_life: Duration,
        life: Lifecycle,
        clock: Clock,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let token_life = TimeDelta::from_std(token_life).unwrap_or(TimeDelta::days(1));
        Self { registry, router, provisioner, secret, permits, token_life, life, clock }
    }

    /// For tests: uses this provisioner to create tenants.
    #[must_use]
    pub fn provisioning_with(mut self, provisioner: Provisioner) -> Self {
        self.provisioner = provisioner;
        self
    }

    /// Refuses a delivery that cannot be the provider's, before its body is read.
    ///
    /// # Errors
    ///
    /// Those of [`ClerkWebhooks::receive`] that do not depend on the body.
    pub fn admit(&self, headers: &SignedHeaders<'_>) -> Result<(), ClerkError> {
        self.secret.as_ref().ok_or(ClerkError::NotConfigured)?;
        standard_webhooks::check_headers(headers, self.clock.now().timestamp())?;
        Ok(())
    }

    /// Takes a delivery: all values of the signed headers, and the exact body.
    pub async fn receive(
        &self,
        headers: SignedHeaders<'_>,
        body: &[u8],
    ) -> Result<Receipt, ClerkError> {
        let secret = self.secret.as_ref().ok_or(ClerkError::NotConfigured)?;
        let id = standard_webhooks::verify(secret, &headers, body, self.clock.now().timestamp())?;
        let Event::Known { event_type, .. } = event::parse(body)? else {
            return Ok(Receipt::Ignored);
        };
        let new = NewDelivery { provider: PROVIDER, delivery_id: id, event_type, body };
        tokio::time::timeout(RECORDING_DEADLINE, self.record_delivery(new))
            .await
            .map_err(|_| ClerkError::NotStored("the registry did not answer in time".to_owned()))?
            .map_err(|error| ClerkError::NotStored(error.to_string()))
    }

    /// Records a delivery and begins the work on it. If too many deliveries are worked on, a
    /// background job takes it later.
    async fn record_delivery(&self, new: NewDelivery<'_>) -> Result<Receipt, RegistryError> {
        let permit = self.permits.clone().try_acquire_owned().ok();
        let lease = permit.as_ref().map(|_| LEASE);
        let db = self.registry.connect().await?;
        let sealer = self.registry.sealer();
        let recorded =
            webhook_deliveries::record(&db, sealer, &new, lease, self.clock.now()).await?;
        drop(db);
        let Some(delivery) = recorded else { return Ok(Receipt::Duplicate) };
        if let Some(permit) = permit {
            let worker = self.clone();
            self.life.spawn_work(async move {
                let _permit = permit;
                worker.work(delivery).await;
            });
        }
        Ok(Receipt::Accepted)
    }
}
