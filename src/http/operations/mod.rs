//! Routes for operating the gateway, on a listener of their own that clients cannot reach.

mod families;
pub(super) mod metrics;
mod process;
mod provisioning;
pub(super) mod tenant_health;
