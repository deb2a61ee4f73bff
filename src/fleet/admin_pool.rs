//! Connections for administration that a run has no more use for: the next run on the same server spares itself the
//! opening of one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::postgres::administration::Administration;
use crate::registry::tenants::database_servers::DatabaseServer;

/// Then nobody seems to come any more.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// Clones share them. Never more than runs were worked on at once: who needs one takes one from here first.
#[derive(Clone, Default)]
pub struct AdminPool(Arc<Mutex<Vec<IdleConnection>>>);

struct IdleConnection {
    /// As it was when the connection was opened.
    server: DatabaseServer,
    since: Instant,
    administration: Administration,
}

impl AdminPool {
    fn lock(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        self.0.lock()
    }

    /// Leaves a connection without any lock to whoever comes next.
    pub async fn give_back(&self, server: &DatabaseServer, mut administration: Administration) {
        if administration.unlock_all().await.is_ok() {
            let (server, since) = (server.clone(), Instant::now());
            self.lock().push(IdleConnection { server, since, administration });
        }
    }

    /// One that still answers, if there is one. Whatever has changed of the server since, it gets a new one.
    pub async fn take(&self, server: &DatabaseServer) -> Option<Administration> {
        loop {
            let mut idle = {
                let mut all = self.lock();
                let at = all.iter().rposition(|idle| idle.server == *server)?;
                all.swap_remove(at).administration
            };
            if idle.is_alive().await {
                return Some(idle);
            }
        }
    }

    /// Closes those for which nobody has come for a while.
    pub async fn close_idle(&self) {
        let closed: Vec<_> =
            self.lock().extract_if(.., |idle| idle.since.elapsed() >= KEPT_FOR).collect();
        for idle in closed {
            idle.administration.close().await;
        }
    }
}
