//! Database servers that failed recently. New tenants are placed on other servers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::identifiers::ServerId;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

/// After a failure, no new tenant is placed on the server for this long. Runs and requests for
/// tenants that are already on the server notice the failure themselves.
const AVOIDED_FOR: Duration = Duration::from_secs(30);

/// Clones share the failures.
#[derive(Clone, Default)]
pub struct ServerHealth(Arc<Mutex<HashMap<ServerId, Instant>>>);

impl ServerHealth {
    fn lock(&self) -> MutexGuard<'_, HashMap<ServerId, Instant>> {
        self.0.lock()
    }

    /// Records that a connection to the server was opened or failed.
    pub fn note(&self, server: ServerId, is_well: bool) {
        if is_well {
            self.lock().remove(&server);
        } else {
            self.lock().insert(server, Instant::now());
        }
    }

    /// The servers that failed within the last 30 seconds.
    pub fn failed_servers(&self) -> Vec<ServerId> {
        let mut failed = self.lock();
        failed.retain(|_, at| at.elapsed() < AVOIDED_FOR);
        failed.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_failed_is_avoided_until_it_answers_or_for_a_while() {
        let (health, server, other) =
            (ServerHealth::default(), ServerId(Uuid::from_u128(1)), ServerId(Uuid::from_u128(2)));
        assert!(health.failed_servers().is_empty());
        health.note(server, false);
        health.note(other, false);
        health.note(other, true);
        assert_eq!(health.failed_servers(), [server]);
        tokio::time::advance(AVOIDED_FOR.checked_sub(Duration::from_millis(1)).unwrap()).await;
        assert_eq!(health.failed_servers(), [server]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(health.failed_servers().is_empty());
    }
}
