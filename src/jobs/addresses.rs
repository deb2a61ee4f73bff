//! Addresses of staff whose change was cut off are settled.

use super::Failure;
use crate::authentication::Authentication;

pub(super) async fn settle(authentication: Authentication) -> Result<(), Failure> {
    let settled = authentication.settle_addresses().await?;
    if settled > 0 {
        tracing::info!(settled, "addresses whose change was cut off are settled");
    }
    Ok(())
}
