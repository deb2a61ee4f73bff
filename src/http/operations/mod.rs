//! What is served to those who run the gateway, on a listener of its own that clients cannot reach.

pub(super) mod tenant_health;
