//! Addresses of staff whose change was cut off are settled.

use crate::authentication::Authentication;

pub(super) async fn settle(authentication: Authentication) {
    match authentication.settle_addresses().await {
        Ok(0) => {}
        Ok(settled) => tracing::info!(settled, "addresses whose change was cut off are settled"),
        // Readiness says aloud that the registry is away.
        Err(error) => tracing::debug!(%error, "addresses could not be settled"),
    }
}
