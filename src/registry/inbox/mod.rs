//! What came in from outside and is not done yet: parked events of messages, deliveries of webhooks, what Clerk says.

pub mod clerk;
pub mod parked_events;
pub mod webhook_deliveries;
