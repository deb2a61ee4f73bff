//! The keys of the installation: signing keys, kept keys, and sealing them anew under another master key.

pub mod resealing;
pub mod signing_keys;
pub mod system_config;
