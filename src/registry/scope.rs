//! The scope of a connection to the registry.

use std::time::Duration;

use crate::postgres::{Connection, Scoped, Transaction};

/// The time limit for a registry connection from the pool, and for opening one.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// Marks a connection as one to the registry. Only this module makes one.
pub struct RegistryScope(pub(super) ());

/// A connection to the registry.
pub type RegistryDb = Connection<RegistryScope>;
/// A transaction in the registry.
pub type RegistryTransaction = Transaction<RegistryScope>;

/// What the queries of this module run on: a connection or a transaction of the registry.
pub trait OnRegistry: Scoped<RegistryScope> {}
impl<T: Scoped<RegistryScope>> OnRegistry for T {}
