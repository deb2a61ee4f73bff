//! Look-ups of tenants, remembered for `router.directory_ttl`.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use moka::future::Cache;

use crate::clock::Clock;
use crate::identifiers::TenantId;
use crate::registry::tenants::Tenant;
use crate::registry::{Registry, RegistryError, phone_numbers, tenants};

/// Remembered tenants at most.
const CAPACITY: u64 = 100_000;

/// Finds tenants by id and numbers by holder. Unknown ids are remembered too, so that a forged token costs the
/// registry one look-up.
pub struct Directory {
    pub(super) registry: Registry,
    known: Cache<TenantId, Option<Arc<Tenant>>>,
    clock: Clock,
}

impl Directory {
    pub(super) fn new(registry: Registry, ttl: Duration, clock: Clock) -> Self {
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(ttl).build();
        Self { registry, known, clock }
    }

    /// The tenant with this id. Many callers at once cost one look-up.
    pub async fn tenant(&self, id: TenantId) -> Result<Option<Arc<Tenant>>, RegistryError> {
        self.known
            .try_get_with(id, async {
                let db = self.registry.connect().await?;
                Ok(tenants::find(&db, id).await?.map(Arc::new))
            })
            .await
            .map_err(|shared: Arc<RegistryError>| match &*shared {
                RegistryError::Unavailable(reason) => RegistryError::Unavailable(reason.clone()),
                other => RegistryError::Unavailable(other.to_string()),
            })
    }

    /// Who held these numbers at a moment. Asked of the registry each time: a message must not follow a number to
    /// a holder of yesterday.
    pub async fn holders_of_numbers(
        &self,
        numbers: &[String],
        at: DateTime<Utc>,
    ) -> Result<Vec<(String, TenantId)>, RegistryError> {
        let db = self.registry.connect().await?;
        phone_numbers::holders_at(&db, numbers, at.min(self.clock.now())).await
    }

    /// Forgets what is remembered of a tenant, because it has just been changed here.
    pub async fn forget(&self, id: TenantId) {
        self.known.invalidate(&id).await;
    }
}
