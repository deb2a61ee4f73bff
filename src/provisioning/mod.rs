//! Creation, repair and purge of tenants. Each is a run of steps that are recorded in the registry,
//! each with its undo. So every run ends with a complete tenant or with nothing but its history,
//! whatever process or server fails.

mod context;
mod create_tenant;
mod definitions;
mod hooks;
mod input;
mod failpoints;
mod operations;
mod pending;
mod provisioner;
mod saga;
mod services;
mod statistics;
mod step_error;
mod steps;
pub(crate) mod unproven;
mod worker;

pub use create_tenant::{CreatedTenant, NewOwner, NewTenant, WantedSlug};
pub use failpoints::{FailpointAction, FailpointPosition, Failpoints};
pub use operations::{CancelError, RepairError};
pub use pending::PendingStep;
pub use provisioner::{
    Idempotency, Planned, Provisioner, RunFailure, StartRunError, Started, failure_of,
};
pub use statistics::{Outcome, ProvisioningStatistics};
pub use step_error::Refusal;
