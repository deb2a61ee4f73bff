//! Changes to a tenant, by operators or by its staff: status, name, phone numbers, and purge.

mod edit;
mod lifecycle;
mod numbers;
mod own_tenant;
mod purge;

pub use edit::{EditError, Tenants};
pub use lifecycle::StatusChange;
pub use numbers::AssignError;
pub use own_tenant::{OwnTenant, OwnTenantError};
pub use purge::Purges;
