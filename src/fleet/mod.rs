//! The database servers: the template that tenants are copied from, warm databases, the health of
//! servers, and the comparison of their contents with the registry. Nothing here needs a run.

mod admin_pool;
mod reconcile;
mod server_health;
mod servers;
mod statistics;
pub mod template;
pub mod untouched;
mod warm_databases;

pub use admin_pool::AdminPool;
pub use reconcile::{DropOrphanError, Dropped, Finding, FindingKind, ReconcileError, Reconciler};
pub use server_health::ServerHealth;
pub use servers::Fleet;
pub use statistics::FleetStatistics;
pub use warm_databases::{WARM_PREFIX, WarmDatabaseError};
pub(crate) use warm_databases::{new_name, wanted};
