//! What is done to a tenant, whoever asks for it: its status, its name, its numbers, and its end.

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
