//! The scope of a connection to a tenant's database.

use std::sync::Arc;

use super::pool_map::Lease;
use crate::postgres::{Connection, Scoped, Transaction};
use crate::registry::tenants::Tenant;

/// Marks a connection as one to this tenant's database. Only this module makes one.
pub struct TenantScope {
    pub(super) tenant: Arc<Tenant>,
    pub(super) _lease: Option<Lease>,
}

impl TenantScope {
    /// The tenant that the database belongs to.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }
}

/// A connection to the database of one tenant.
pub type TenantDb = Connection<TenantScope>;
/// A transaction in the database of one tenant.
pub type TenantTransaction = Transaction<TenantScope>;

/// What queries on a tenant's data run on: a connection or a transaction of that tenant.
pub trait OnTenant: Scoped<TenantScope> {}
impl<T: Scoped<TenantScope>> OnTenant for T {}
