//! The control database: which tenants exist, where their databases are, how they are found, and
//! what is owed to them.

pub mod changes;
pub mod entities;
mod error;
pub mod inbox;
mod open;
pub mod people;
pub mod runs;
pub mod schema;
mod scope;
pub mod secrets;
pub mod tenants;

pub use error::{Lost, RegistryError};
pub use open::{Registry, parse_url, require_safe_transport};
pub use scope::{OnRegistry, RegistryDb, RegistryScope, RegistryTransaction};
