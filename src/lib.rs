//! x
pub mod authentication;
pub mod clock;
pub mod configuration;
pub mod identifiers;
pub mod jobs;
pub mod lifecycle;
pub mod messaging;
pub mod passwords;
pub mod postgres;
pub mod provisioning;
pub mod registry;
pub mod sealing;
pub mod tenant_data;
pub mod tenant_router;
pub mod webhooks;
