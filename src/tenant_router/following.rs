//! Following the registry's changes: what is remembered of them is forgotten, and open pools that they concern are
//! looked at again.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, TenantRouter};
use crate::lifecycle::Lifecycle;
use crate::registry::RegistryError;
use crate::registry::changes::{Change, Changes};

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

/// Follows until `life` ends or the router is gone.
pub(super) fn follow(router: &TenantRouter, life: &Lifecycle) {
    let (inner, stopping) = (std::sync::Arc::downgrade(&router.inner), life.clone());
    life.spawn("registry changes", async move {
        tokio::select! {
            () = stopping.stopping() => {}
            () = follow_always(inner) => stopping.stopping().await,
        }
    });
}

async fn follow_always(router: Weak<Inner>) {
    let mut pause = FIRST_PAUSE;
    while let Some(inner) = router.upgrade() {
        let listening = inner.registry.listen().await;
        drop(inner);
        let failure = match listening {
            Ok(changes) => {
                pause = FIRST_PAUSE;
                let Err(failure) = listen(&router, changes).await else { return };
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

/// Returns when the router is gone, or with what ended the listening.
async fn listen(router: &Weak<Inner>, mut changes: Changes) -> Result<(), RegistryError> {
    // Whatever happened before this connection listened was told to nobody.
    let mut news = vec![Change::Everything];
    let mut heard_until = Instant::now();
    loop {
        let Some(inner) = router.upgrade() else { return Ok(()) };
        take_up(&inner, news);
        inner.directory.heard_everything_until(heard_until);
        drop(inner);
        news = changes.next(HEARTBEAT, DEBOUNCE).await?;
        heard_until = Instant::now();
        news.extend(changes.confirm(SILENCE).await?);
    }
}

fn take_up(inner: &std::sync::Arc<Inner>, news: Vec<Change>) {
    if news.is_empty() {
        return;
    }
    let open = inner.pools.open_tenants();
    let everywhere = news.iter().any(|c| matches!(c, Change::Server(_) | Change::Everything));
    let ids: Vec<_> =
        open.into_iter().filter(|id| everywhere || news.contains(&Change::Tenant(*id))).collect();
    for change in &news {
        if let Change::Server(id) = change {
            inner.gatekeeper.ask_again(*id);
        }
    }
    inner.directory.apply(news);
    if !ids.is_empty() {
        tokio::spawn(inner.clone().look_again(ids));
    }
}
