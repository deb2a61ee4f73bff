//! The keys of the installation: signing keys, sealed keys, and resealing under another master key.

pub mod resealing;
pub mod signing_keys;
pub mod system_config;
