//! From a tenant's id to a connection to its database. The directory caches the tenant's row, and
//! the pools hold the open connections. Only this module makes a [`TenantDb`], and it checks the
//! identity of the database when it opens one.

mod address;
mod administering;
mod admission;
mod breaker;
mod budget;
mod change_feed;
mod directory;
mod error;
mod hosts;
mod pool_map;
mod pools;
mod reasons;
mod router;
mod scope;
mod statistics;
mod target;

pub use admission::BudgetError;
pub use breaker::{BreakerFailure, BreakerState};
pub use budget::BudgetUse;
pub use directory::{Directory, DirectoryStatistics};
pub use error::RouterError;
pub use hosts::HostName;
pub use pools::PoolView;
pub use reasons::{PoolEvent, Refusal};
pub use router::{PlanError, TenantRouter};
pub use scope::{OnTenant, TenantDb, TenantScope, TenantTransaction};
pub use statistics::{RouterStatistics, ServerStatistics};
pub use target::TENANT_GROUP;
