//! The registry's tables, one file each.
#![allow(missing_docs, reason = "columns are explained where they are used")]

pub mod clerk_memberships;
pub mod clerk_organizations;
pub mod clerk_staff;
pub mod clerk_users;
pub mod database_servers;
pub mod domains;
pub mod email_index;
pub mod operator_recovery_codes;
pub mod operator_sessions;
pub mod operators;
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
pub mod webhook_deliveries;
