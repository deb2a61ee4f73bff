//! Revoked sessions, API keys and impersonation sessions. Every request checks them, so they are
//! kept in memory; every replica reads new ones twice a second.

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

/// Period of the reads. If the registry answers within 500 ms, a revocation from another replica
/// takes effect here within one second.
const PERIOD: Duration = Duration::from_millis(500);
/// A read of new rows covers the last 15 seconds. If the last successful read is older than this,
/// all revocations are read again.
const OVERLAP: Duration = Duration::from_secs(10);
const CLEAN_UP_EVERY: Duration = Duration::from_secs(300);

/// The revocations in memory. Clones share them.
#[derive(Clone)]
pub struct Revocations {
    registry: Registry,
    /// Session, and the time when its last access token expires by itself.
    revoked: Arc<RwLock<HashMap<Uuid, DateTime<Utc>>>>,
    clock: Clock,
}

impl Revocations {
    /// Reads all revocations, then reads new ones until `life` stops; during the drain, requests
    /// still need them.
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

    /// True if this session was revoked.
    pub fn is_revoked(&self, session: Uuid) -> bool {
        self.revoked.read().contains_key(&session)
    }

    /// Revokes sessions of a tenant: at once on this replica, within a second on every other
    /// replica. `token_life`: life of an access token that is issued now.
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
            // The snapshot of a read dates from its start.
            let begun = tokio::time::Instant::now();
            match self.read(last_read.elapsed() > OVERLAP).await {
                Ok(()) => last_read = begun,
                // Readiness reports that the registry is unavailable.
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
