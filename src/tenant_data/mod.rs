//! The contents of every tenant's own database that do not depend on the product: staff, roles,
//! sessions, and the seed of a new tenant.

pub mod api_keys;
pub mod audit_log;
pub mod entities;
pub mod external_identities;
pub mod impersonations;
pub mod one_time_tokens;
pub mod seed;
pub mod rights;
pub mod roles;
pub mod second_factor;
pub mod sessions;
pub mod settings;
pub mod staff;
pub mod staff_changes;
