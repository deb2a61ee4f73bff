//! The change feed. A change in the registry invalidates the cached rows, and the open pools that
//! it concerns are checked again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::lifecycle::Lifecycle;
use crate::registry::changes::{Change, Changes};
use crate::registry::{Registry, RegistryError};

/// Time between two liveness checks of the listener.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// After this long without an answer, the listener is given up and all cached data is invalidated.
/// The cache stops answering earlier than that (`directory.rs`, `FRESH_FOR`).
const SILENCE: Duration = Duration::from_secs(3);
/// Changes that arrive within this time are handled together.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// Pauses between two attempts to listen.
const PAUSES: Backoff = Backoff::steady(Duration::from_millis(100), Duration::from_secs(2));

/// A receiver of the registry's changes.
pub(super) trait ChangeListener: Send + Sync + 'static {
    /// The registry that announces the changes.
    fn registry(&self) -> &Registry;

    /// Records that every change before `moment` has been handled.
    fn mark_synced_until(&self, moment: Instant);

    /// Handles changes in their order.
    fn take_up(self: &Arc<Self>, news: Vec<Change>);
}

/// Listens until `life` ends or the listener is dropped.
pub(super) fn follow<L: ChangeListener>(listener: &Arc<L>, life: &Lifecycle) {
    let (listener, stopping) = (Arc::downgrade(listener), life.clone());
    life.spawn("registry changes", async move {
        tokio::select! {
            () = stopping.stopping() => {}
            () = follow_always(listener) => stopping.stopping().await,
        }
    });
}

async fn follow_always<L: ChangeListener>(weak: Weak<L>) {
    let mut failures = 0;
    while let Some(listener) = weak.upgrade() {
        let listening = listener.registry().listen().await;
        drop(listener);
        let failure = match listening {
            Ok(changes) => {
                failures = 0;
                let Err(failure) = listen(&weak, changes).await else { return };
                failure
            }
            Err(failure) => failure,
        };
        // Readiness already reports that the registry is unavailable.
        tracing::debug!(%failure, "changes of the registry cannot be followed");
        failures += 1;
        tokio::time::sleep(PAUSES.after(failures)).await;
    }
}

/// Returns when the listener was dropped, or with the failure that ended the listening.
async fn listen<L: ChangeListener>(
    weak: &Weak<L>,
    mut changes: Changes,
) -> Result<(), RegistryError> {
    // Changes that were made before this connection listened reached no listener.
    let mut news = vec![Change::Everything];
    let mut heard_until = Instant::now();
    loop {
        let Some(listener) = weak.upgrade() else { return Ok(()) };
        listener.take_up(news);
        listener.mark_synced_until(heard_until);
        drop(listener);
        news = changes.next(HEARTBEAT, DEBOUNCE).await?;
        heard_until = Instant::now();
        news.extend(changes.confirm(SILENCE).await?);
    }
}
