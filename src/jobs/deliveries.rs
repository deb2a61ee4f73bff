//! Deliveries that nobody works on are taken up; those completed long ago are forgotten.

use super::Failure;
use crate::webhooks::clerk::ClerkWebhooks;

pub(super) async fn work(clerk: ClerkWebhooks) -> Result<(), Failure> {
    clerk.work_on_due().await?;
    Ok(())
}

pub(super) async fn clean_up(clerk: ClerkWebhooks) -> Result<(), Failure> {
    let forgotten = clerk.clean_up().await?;
    if forgotten > 0 {
        tracing::debug!(forgotten, "old deliveries are forgotten");
    }
    Ok(())
}
