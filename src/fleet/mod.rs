//! The database servers, without any run: the template that tenants are copied from, warm databases, which servers answer, and what
//! lies on them against what the registry says should.

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
