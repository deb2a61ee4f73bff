//! What is served to those who run the gateway, on a listener of its own that clients cannot reach.

mod families;
pub(super) mod metrics;
mod process;
mod provisioning;
pub(super) mod tenant_health;
