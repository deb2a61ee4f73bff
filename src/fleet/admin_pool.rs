//! A pool of administrative connections that runs have returned, so that the next run on the same
//! server need not open one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::postgres::administration::Administration;
use crate::registry::tenants::database_servers::DatabaseServer;

/// An idle connection is closed after this long.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// Clones share the connections. There are never more than the runs that worked at the same time,
/// because each run takes a pooled connection first.
#[derive(Clone, Default)]
pub struct AdminPool(Arc<Mutex<Vec<IdleConnection>>>);

struct IdleConnection {
    /// The server's row when the connection was opened.
    server: DatabaseServer,
    since: Instant,
    administration: Administration,
}

impl AdminPool {
    fn lock(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        self.0.lock()
    }

    /// Returns a connection to the pool, after releasing all its locks.
    pub async fn give_back(&self, server: &DatabaseServer, mut administration: Administration) {
        if administration.unlock_all().await.is_ok() {
            let (server, since) = (server.clone(), Instant::now());
            self.lock().push(IdleConnection { server, since, administration });
        }
    }

    /// Takes a connection that is still alive. `None` if there is none, or if the server's row has
    /// changed since.
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

    /// Closes connections that were idle for too long.
    pub async fn close_idle(&self) {
        let closed: Vec<_> =
            self.lock().extract_if(.., |idle| idle.since.elapsed() >= KEPT_FOR).collect();
        for idle in closed {
            idle.administration.close().await;
        }
    }
}
