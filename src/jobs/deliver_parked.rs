//! Parked events go to their tenants as soon as these can take them.

use super::Failure;
use crate::webhooks::telnyx::TelnyxWebhooks;

pub(super) async fn run(telnyx: TelnyxWebhooks) -> Result<(), Failure> {
    telnyx.deliver_parked().await?;
    Ok(())
}
