//! The tables that every tenant database has, a file for each.
#![allow(missing_docs, reason = "columns are explained where they are used")]

pub mod api_keys;
pub mod external_identities;
pub mod impersonations;
pub mod one_time_tokens;
pub mod refresh_tokens;
pub mod roles;
pub mod sessions;
pub mod staff;
pub mod tenant_identity;
