//! Following the registry's changes: what is remembered of them is forgotten, and open pools that they concern are
//! looked at again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::lifecycle::Lifecycle;
use crate::registry::changes::{Change, Changes};
use crate::registry::{Registry, RegistryError};

/// Between two signs of life of the listener.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// Without one for so long the listener is given up, and everything looked up again. Before that nothing is answered
/// from memory already (`directory.rs`, `FRESH_FOR`).
const SILENCE: Duration = Duration::from_secs(3);
/// Changes that come together are taken up together.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// Between two attempts to listen.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What hears of the changes.
pub(super) trait ChangeListener: Send + Sync + 'static {
    /// Whose changes they are.
    fn registry(&self) -> &Registry;

    /// Every change before this moment has been taken up.
    fn mark_synced_until(&self, moment: Instant);

    /// Takes changes up, in their order.
    fn take_up(self: &Arc<Self>, news: Vec<Change>);
}

/// Follows until `life` ends or the listener is gone.
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
    let mut pause = FIRST_PAUSE;
    while let Some(listener) = weak.upgrade() {
        let listening = listener.registry().listen().await;
        drop(listener);
        let failure = match listening {
            Ok(changes) => {
                pause = FIRST_PAUSE;
                let Err(failure) = listen(&weak, changes).await else { return };
                failure
            }
            Err(failure) => failure,
        };
        // Readiness says aloud that the registry is away.
        tracing::debug!(%failure, "changes of the registry cannot be followed");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Returns when the listener is gone, or with what ended the listening.
async fn listen<L: ChangeListener>(
    weak: &Weak<L>,
    mut changes: Changes,
) -> Result<(), RegistryError> {
    // Whatever happened before this connection listened was told to nobody.
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
