//! Sessions that have ended before their access tokens did. Every request asks here, so the answer is in memory;
//! every replica reads what is new twice a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::RwLock;
use uuid::Uuid;

use crate::clock::Clock;
use crate::identifiers::TenantId;
use crate::lifecycle::Lifecycle;
use crate::registry::people::revoked_tokens::{self, Revocation};
use crate::registry::{Registry, RegistryError};

/// A revocation made on another replica is known here after this long at the latest, as long as the registry
/// answers within the other half of a second.
const PERIOD: Duration = Duration::from_millis(500);
/// After a longer silence of the registry than the overlap of the reads, everything is read again.
const OVERLAP: Duration = Duration::from_secs(10);
const CLEAN_UP_EVERY: Duration = Duration::from_secs(300);

/// The revoked sessions. Clones share them.
#[derive(Clone)]
pub struct Revocations {
    registry: Registry,
    /// Session, and when the last of its access tokens expires by itself.
    revoked: Arc<RwLock<HashMap<Uuid, DateTime<Utc>>>>,
    clock: Clock,
}

impl Revocations {
    /// Reads them all, then keeps reading what is new until `life` stops: in the drain requests still come.
    pub(super) async fn load(
        registry: Registry,
        life: &Lifecycle,
        clock: Clock,
    ) -> Result<Self, RegistryError> {
        let revocations = Self { registry, revoked: Arc::default(), clock };
        revocations.read(true).await?;
        let (follower, stopping) = (revocations.clone(), life.clone());
        life.spawn("revocations", async move {
            tokio::select! {
                () = stopping.stopping() => {}
                () = follower.follow() => {}
            }
        });
        Ok(revocations)
    }

    /// Has this session been ended?
    pub fn is_revoked(&self, session: Uuid) -> bool {
        self.revoked.read().contains_key(&session)
    }

    /// Ends sessions of a tenant: here at once, on every replica within a second. `token_life`: how long an access
    /// token made just now would live.
    pub(super) async fn revoke(
        &self,
        tenant: TenantId,
        sessions: &[Uuid],
        token_life: TimeDelta,
    ) -> Result<(), RegistryError> {
        if sessions.is_empty() {
            return Ok(());
        }
        let expires_at = self.clock.now() + token_life + TimeDelta::minutes(1);
        let db = self.registry.connect().await?;
        revoked_tokens::record(&db, tenant, sessions, expires_at).await?;
        self.add(sessions.iter().map(|session| (*session, expires_at)));
        Ok(())
    }

    fn add(&self, sessions: impl Iterator<Item = (Uuid, DateTime<Utc>)>) {
        let mut revoked = self.revoked.write();
        revoked.extend(sessions);
    }

    async fn read(&self, everything: bool) -> Result<(), RegistryError> {
        let db = self.registry.connect().await?;
        let rows = if everything {
            revoked_tokens::all(&db, self.clock.now()).await?
        } else {
            revoked_tokens::recent(&db).await?
        };
        if !rows.is_empty() {
            self.add(
                rows.into_iter()
                    .map(|Revocation { session_id, expires_at, .. }| (session_id, expires_at)),
            );
        }
        Ok(())
    }

    async fn follow(&self) {
        let mut last_read = tokio::time::Instant::now();
        let mut last_clean_up = last_read;
        loop {
            tokio::time::sleep(PERIOD).await;
            // What a read sees dates from its beginning.
            let begun = tokio::time::Instant::now();
            match self.read(last_read.elapsed() > OVERLAP).await {
                Ok(()) => last_read = begun,
                // Readiness says aloud that the registry is away.
                Err(error) => tracing::debug!(%error, "revocations could not be read"),
            }
            if last_clean_up.elapsed() > CLEAN_UP_EVERY {
                self.clean_up().await;
                last_clean_up = tokio::time::Instant::now();
            }
        }
    }

    async fn clean_up(&self) {
        let now = self.clock.now();
        self.revoked.write().retain(|_, expires_at| *expires_at > now);
        let cleaned = async {
            let db = self.registry.connect().await?;
            revoked_tokens::clean_up(&db, now).await
        };
        if let Err(error) = cleaned.await {
            tracing::warn!(%error, "old revocations could not be removed");
        }
    }
}
