//! Parked events go to their tenants as soon as these can take them.

use crate::webhooks::telnyx::TelnyxWebhooks;

pub(super) async fn run(telnyx: TelnyxWebhooks) {
    if let Err(error) = telnyx.deliver_parked().await {
        // Readiness says aloud that the registry is away.
        tracing::debug!(%error, "parked events could not be tried again");
    }
}
