//! Work on recorded deliveries: store their facts, then reconcile the organizations that they
//! concern.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::{StreamExt, stream};
use sea_orm::TransactionTrait;
use tokio::time::Instant;

use super::event::{self, Event};
use super::reconcile::{ReconcileError, Reconciled};
use super::{AT_ONCE, ClerkWebhooks, LEASE, PROVIDER};
use crate::backoff::Backoff;
use crate::registry::inbox::clerk::{self, Facts};
use crate::registry::inbox::webhook_deliveries::{self, Delivery, Status};
use crate::registry::runs::provisioning_runs;
use crate::registry::{RegistryError, RegistryTransaction};
use crate::sealing::SealingError;

/// Deliveries or organizations that are claimed at once.
const BATCH: u64 = 16;
/// Time limit for one delivery. It is shorter than the lease, even for the last delivery of a
/// batch.
const TIMEOUT: Duration = Duration::from_secs(12);
/// While full batches are due, one follows the other at once. After this time no further batch
/// begins, because the caller has other tasks, such as the end of the process.
const ROUND_LIMIT: Duration = Duration::from_secs(3);
/// Attempts at a delivery before it is marked as failed. The waits between them are 1, 2, 4 ...
/// seconds and at most ten minutes: 27 minutes in all.
const MAX_ATTEMPTS: i32 = 12;
const WAITS: Backoff = Backoff::steady(Duration::from_secs(1), Duration::from_secs(600));
/// Wait before a delivery with [`Incomplete::Waiting`] is tried again.
const WAITING_DELAY: TimeDelta = TimeDelta::milliseconds(500);
/// How long completed deliveries are kept. The provider gives up its own attempts after a day and a
/// half.
const COMPLETED_RETENTION: TimeDelta = TimeDelta::days(30);
/// How long a failed delivery can be replayed. It contains personal data, which must not be kept
/// for ever.
const FAILED_RETENTION: TimeDelta = TimeDelta::days(90);

/// The event that creates a tenant. Its delivery is completed when the tenant exists.
pub(super) const CREATED: &str = "organization.created";

/// Why a delivery is not completed.
#[derive(Debug, thiserror::Error)]
enum Incomplete {
    /// The delivery waits for work that another task has begun, or for a process with the right
    /// master key. The attempt is not counted.
    #[error("{0}")]
    Waiting(&'static str),
    /// A transient error: the delivery is tried again, up to `MAX_ATTEMPTS` times.
    #[error(transparent)]
    Transient(ReconcileError),
    /// A permanent error: no other attempt would help.
    #[error("{0}")]
    Permanent(String),
}

impl From<RegistryError> for Incomplete {
    fn from(error: RegistryError) -> Self {
        Self::Transient(error.into())
    }
}

impl From<ReconcileError> for Incomplete {
    fn from(error: ReconcileError) -> Self {
        match error {
            ReconcileError::Busy => Self::Waiting("others are at it"),
            ReconcileError::RunFailed(_) => Self::Permanent(error.to_string()),
            other => Self::Transient(other),
        }
    }
}

/// The effect of a request to replay a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The delivery is due at once.
    Due,
    /// The delivery has not failed, so there is nothing to repeat.
    NotFailed,
    /// The provider's id is unknown.
    Unknown,
}

impl ClerkWebhooks {
    /// Works on the deliveries that are due, then reconciles organizations that wait, as many as
    /// the time of a round allows. Returns the number of deliveries.
    pub async fn work_on_due(&self) -> Result<usize, RegistryError> {
        let begun = Instant::now();
        let mut tried = 0;
        loop {
            let db = self.registry.connect().await?;
            let now = self.clock.now();
            let due = webhook_deliveries::claim_due(&db, PROVIDER, BATCH, LEASE, now).await?;
            drop(db);
            let is_full = due.len() as u64 == BATCH;
            tried += due.len();
            stream::iter(due)
                .for_each_concurrent(AT_ONCE, async |delivery| {
                    let _permit = self.permits.acquire().await;
                    self.work(delivery).await;
                })
                .await;
            if !is_full || begun.elapsed() >= ROUND_LIMIT {
                break;
            }
        }
        self.reconcile_due().await?;
        Ok(tried)
    }

    /// Works on a claimed delivery, and records the outcome.
    pub(super) async fn work(&self, delivery: Delivery) {
        let worked = tokio::time::timeout(TIMEOUT, self.apply_delivery(&delivery));
        let outcome =
            worked.await.unwrap_or(Err(Incomplete::Transient(ReconcileError::TookTooLong)));
        // If the outcome cannot be recorded, the lease ends and the delivery is claimed again.
        if let Err(error) = self.note(&delivery, outcome).await {
            tracing::warn!(delivery = delivery.delivery_id, %error, "how a delivery went could not be noted");
        }
    }

    /// Applies a delivery. Returns the remark for operators that is stored with the completed
    /// delivery: what was left out, or is done later.
    async fn apply_delivery(&self, delivery: &Delivery) -> Result<Option<String>, Incomplete> {
        let body =
            webhook_deliveries::open_body(self.registry.sealer(), delivery).map_err(|error| {
                match error {
                    // Another replica may have the key.
                    SealingError::UnknownKey => {
                        Incomplete::Waiting("this process has not the master key that sealed it")
                    }
                    error => Incomplete::Permanent(error.to_string()),
                }
            })?;
        let event = event::parse(&body)
            .map_err(|malformed| Incomplete::Permanent(malformed.to_string()))?;
        let Event::Known { facts, .. } = event else {
            return Ok(Some("this program does not follow events of this type".to_owned()));
        };
        let told_of = user_of(&facts);
        let is_creation = delivery.event_type == CREATED;
        let mut remarks = BTreeSet::new();
        let mut outcome = Ok(());
        // All organizations are tried: the failure of one tenant must not delay another.
        for organization in self.record(*facts).await? {
            let settled = self.reconcile(&organization).await;
            match settled {
                Ok(Reconciled::Done) => {}
                Ok(Reconciled::PassedOver(members)) => {
                    remarks.insert(members.told());
                }
                Ok(Reconciled::Closed) => {
                    remarks.insert("the tenant is closed; done when it is opened".to_owned());
                }
                Ok(Reconciled::BeingMade) if !is_creation => {
                    remarks.insert("the tenant is being made; done when it is there".to_owned());
                }
                Ok(Reconciled::BeingMade) => {
                    outcome = outcome.and(Err(Incomplete::Waiting("the tenant is being made")));
                }
                // The failed run is reported by the delivery of the organization's creation.
                Err(ReconcileError::RunFailed(_)) if !is_creation => {
                    remarks.insert("the tenant could not be made".to_owned());
                }
                // Unproven users are reported only by deliveries that are about them.
                Err(ReconcileError::Unproven(users))
                    if !told_of.as_ref().is_some_and(|u| users.contains(u)) => {}
                Err(error) => outcome = Err(error.into()),
            }
        }
        let remarks: Vec<String> = remarks.into_iter().collect();
        outcome.map(|()| (!remarks.is_empty()).then(|| remarks.join("; ")))
    }

    async fn record(&self, facts: Facts) -> Result<impl Iterator<Item = String>, RegistryError> {
        let now = self.clock.now();
        let record = async |transaction: &RegistryTransaction| {
            clerk::record(transaction, self.registry.sealer(), facts, now).await
        };
        Ok(self.registry.transaction(record).await?.into_iter())
    }

    async fn note(
        &self,
        delivery: &Delivery,
        outcome: Result<Option<String>, Incomplete>,
    ) -> Result<(), RegistryError> {
        let db = self.registry.connect().await?;
        let now = self.clock.now();
        let reason = match outcome {
            Ok(remark) => return webhook_deliveries::complete(&db, delivery, remark, now).await,
            Err(reason) => reason,
        };
        let text = reason.to_string();
        let attempts = delivery.attempts;
        match reason {
            Incomplete::Waiting(_) => {
                webhook_deliveries::postpone(
                    &db,
                    delivery,
                    now + WAITING_DELAY,
                    &text,
                    attempts - 1,
                )
                .await
            }
            Incomplete::Transient(_) if attempts < MAX_ATTEMPTS => {
                let until = now + WAITS.after(attempts.unsigned_abs());
                tracing::info!(
                    delivery = delivery.delivery_id,
                    attempts,
                    reason = text,
                    "a delivery has to be tried again"
                );
                webhook_deliveries::postpone(&db, delivery, until, &text, attempts).await
            }
            Incomplete::Transient(_) | Incomplete::Permanent(_) => {
                tracing::error!(
                    delivery = delivery.delivery_id,
                    reason = text,
                    "a delivery has failed; `narthex deliveries replay` takes it up again"
                );
                webhook_deliveries::fail(&db, delivery, &text, now).await
            }
        }
    }

    /// Reconciles organizations with changes that are not applied yet. Most of them wait for their
    /// tenant.
    async fn reconcile_due(&self) -> Result<(), RegistryError> {
        let db = self.registry.connect().await?;
        let due = clerk::claim_unsettled(&db, BATCH, LEASE, self.clock.now()).await?;
        drop(db);
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, |organization| async move {
                let _permit = self.permits.acquire().await;
                let settled = tokio::time::timeout(TIMEOUT, self.reconcile(&organization.id));
                let settled = settled.await.unwrap_or(Err(ReconcileError::TookTooLong));
                if let Ok(Reconciled::Done | Reconciled::PassedOver(_)) = settled {
                    return;
                }
                match &settled {
                    // Only this log entry reports the error: the delivery that led here is
                    // completed.
                    Err(error @ ReconcileError::StatementFailed(_)) => {
                        tracing::warn!(organization = organization.id, %error, attempts = organization.settle_attempts, "an organization cannot be settled");
                    }
                    settled => tracing::debug!(organization = organization.id, ?settled, "an organization cannot be settled yet"),
                }
                // The row does not count this failure yet.
                let failures = organization.settle_attempts.unsigned_abs() + 1;
                let until = self.clock.now() + WAITS.after(failures);
                let postponed = async {
                    let db = self.registry.connect().await?;
                    clerk::postpone(&db, &organization.id, until).await
                };
                if let Err(error) = postponed.await {
                    tracing::debug!(%error, "an organization could not be postponed; its lease will end");
                }
            })
            .await;
        Ok(())
    }

    /// Makes a failed delivery due again. If its tenant could not be created, a new run is planned.
    pub async fn replay(&self, delivery_id: &str) -> Result<Replayed, RegistryError> {
        let db = self.registry.connect().await?;
        let found = webhook_deliveries::find(&db, PROVIDER, delivery_id).await?;
        let Some(delivery) = found else { return Ok(Replayed::Unknown) };
        if delivery.status != Status::Failed {
            return Ok(Replayed::NotFailed);
        }
        let now = self.clock.now();
        let organization = self.announced(&delivery);
        let replay = async |transaction: &RegistryTransaction| {
            if let Some(id) = organization
                && let Some(organization) = clerk::find(transaction, &id).await?
                && let Some(run) = organization.run_id
                && let Some((found, _)) = provisioning_runs::find(transaction, run).await?
                && found.status == provisioning_runs::RunStatus::Failed
            {
                clerk::forget_failed_run(transaction, &id, run, now).await?;
            }
            webhook_deliveries::replay(transaction, &delivery, now).await
        };
        let is_due = db.begin().await?.run(replay).await?;
        Ok(if is_due { Replayed::Due } else { Replayed::NotFailed })
    }

    /// The organization whose creation a delivery announces. `None` for a body that cannot be read:
    /// the work on the delivery reports the error.
    fn announced(&self, delivery: &Delivery) -> Option<String> {
        let body = Some(delivery).filter(|delivery| delivery.event_type == CREATED)?;
        let body = webhook_deliveries::open_body(self.registry.sealer(), body).ok()?;
        match event::parse(&body) {
            Ok(Event::Known { facts, .. }) => facts.organization.map(|fact| fact.id),
            _ => None,
        }
    }

    /// Deletes deliveries that ended long ago. Returns how many.
    pub async fn clean_up(&self) -> Result<u64, RegistryError> {
        let db = self.registry.connect().await?;
        let now = self.clock.now();
        webhook_deliveries::forget_finished(&db, now - COMPLETED_RETENTION, now - FAILED_RETENTION)
            .await
    }
}

/// The user that a delivery is about.
fn user_of(facts: &Facts) -> Option<String> {
    let user = facts.user.as_ref().map(|user| user.id.clone());
    user.or_else(|| facts.membership.as_ref().and_then(|membership| membership.user.clone()))
}
