//! Redelivery of parked events, until their tenant has them or a person has to look.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::apply::Undeliverable;
use super::{TelnyxWebhooks, event};
use crate::backoff::Backoff;
use crate::registry::RegistryError;
use crate::registry::inbox::parked_events::{self, ParkedEvent};
use crate::sealing::SealingError;

/// Events that are claimed at once; `LEASE` is how long they belong to this process.
const BATCH: u64 = 20;
const LEASE: Duration = Duration::from_secs(60);
/// Events that are tried in parallel, so that one for an unavailable tenant does not delay the
/// others.
const AT_ONCE: usize = 8;
/// Time limit for one event: long enough for a busy tenant, short enough for a whole batch within
/// its lease.
const TIMEOUT: Duration = Duration::from_secs(15);
/// As long as full batches are due, the next one follows at once. After this time none begins,
/// because the caller has other tasks, such as the end of the process.
const ROUND_LIMIT: Duration = Duration::from_secs(3);
/// An unavailable tenant is tried again after 2, 4, 8 ... seconds, at most this long.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Events for a number without a holder are tried less and less often. Assigning the number makes
/// them due at once.
const LONGEST_WAIT_FOR_NUMBER: Duration = Duration::from_secs(3600);
/// A statement that has failed so often is a permanent error.
const MAX_FAILED_STATEMENTS: i32 = 8;
/// How long an event that this process cannot open is left to other replicas.
const UNREADABLE_WAIT: TimeDelta = TimeDelta::seconds(30);
/// An event that waits for longer is given up.
const GIVE_UP_AFTER: TimeDelta = TimeDelta::days(30);

impl TelnyxWebhooks {
    /// Tries the events that are due, as many as the time of a round allows. Returns how many it
    /// tried.
    pub async fn deliver_parked(&self) -> Result<usize, RegistryError> {
        let begun = Instant::now();
        let mut tried = 0;
        loop {
            let db = self.registry.connect().await?;
            let due = parked_events::claim_due(&db, BATCH, LEASE, self.clock.now()).await?;
            drop(db);
            let is_full = due.len() as u64 == BATCH;
            tried += due.len();
            let outcomes: Vec<_> = stream::iter(due)
                .map(|parked| self.try_again(parked))
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            // The error of one event must not keep the others waiting, so it is returned only now.
            outcomes.into_iter().collect::<Result<(), _>>()?;
            if !is_full || begun.elapsed() >= ROUND_LIMIT {
                return Ok(tried);
            }
        }
    }

    async fn try_again(&self, parked: ParkedEvent) -> Result<(), RegistryError> {
        let body = parked_events::open_body(self.registry.sealer(), &parked);
        if let Err(SealingError::UnknownKey) = body {
            // Another replica may have the key.
            tracing::error!(event = %parked.id, "ALARM: this process cannot read a parked event; has it every master key?");
            let (db, later) = (self.registry.connect().await?, self.clock.now() + UNREADABLE_WAIT);
            return parked_events::postpone(&db, &parked, later, &parked.reason, parked.attempts)
                .await;
        }
        let delivered = match body.map(|body| event::parse(&body)) {
            Ok(Ok(event)) => {
                self.deliver(&event, parked.received_at, Instant::now() + TIMEOUT).await
            }
            Ok(Err(malformed)) => Err(Undeliverable::StatementFailed(malformed.to_string())),
            Err(sealing) => Err(Undeliverable::StatementFailed(sealing.to_string())),
        };
        let db = self.registry.connect().await?;
        let failure = match delivered {
            Ok(receipt) => {
                tracing::info!(event = %parked.id, ?receipt, attempt = parked.attempts, "a parked event is delivered");
                return parked_events::delivered(&db, &parked).await;
            }
            Err(failure) => failure,
        };
        let now = self.clock.now();
        // A long wait for the number must not use up the attempts at the tenant's database.
        let attempts = if parked.reason == failure.name() { parked.attempts } else { 1 };
        let hopeless = matches!(failure, Undeliverable::Unreadable(_))
            || failure.is_refusal() && attempts >= MAX_FAILED_STATEMENTS;
        if hopeless || now - parked.received_at > GIVE_UP_AFTER {
            tracing::error!(event = %parked.id, %failure, "a parked event is given up; a person has to look at it");
            return parked_events::fail(&db, &parked, failure.name()).await;
        }
        let longest = match failure {
            Undeliverable::UnknownNumber => LONGEST_WAIT_FOR_NUMBER,
            _ => LONGEST_WAIT,
        };
        let wait = Backoff::steady(FIRST_WAIT, longest).after(attempts.unsigned_abs());
        tracing::debug!(event = %parked.id, %failure, attempts, "a parked event has to wait");
        parked_events::postpone(&db, &parked, now + wait, failure.name(), attempts).await
    }
}
