//! Deliveries that nobody works on are taken up; those completed long ago are forgotten.

use crate::webhooks::clerk::ClerkWebhooks;

pub(super) async fn work(clerk: ClerkWebhooks) {
    if let Err(error) = clerk.work_on_due().await {
        // Readiness says aloud that the registry is away.
        tracing::debug!(%error, "deliveries could not be worked on");
    }
}

pub(super) async fn clean_up(clerk: ClerkWebhooks) {
    match clerk.clean_up().await {
        Ok(0) => {}
        Ok(forgotten) => tracing::debug!(forgotten, "old deliveries are forgotten"),
        Err(error) => tracing::debug!(%error, "old deliveries could not be forgotten"),
    }
}
