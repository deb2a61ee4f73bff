//! The registry's tables, one file each.

pub mod database_servers;
pub mod domains;
pub mod email_index;
pub mod parked_events;
pub mod phone_numbers;
pub mod provisioning_events;
pub mod provisioning_runs;
pub mod provisioning_steps;
pub mod registrations;
pub mod resources;
pub mod revoked_tokens;
pub mod signing_keys;
pub mod spare_databases;
pub mod system_config;
pub mod tenants;
