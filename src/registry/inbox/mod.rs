//! Received and not finished: parked events of messages, deliveries of webhooks, and the reports of
//! Clerk.

pub mod clerk;
pub mod parked_events;
pub mod webhook_deliveries;
