//! The runs of provisioning: their input, their steps, the lease of the process that works on them,
//! and the resources that they made.

pub mod provisioning_runs;
pub mod registrations;
pub mod resources;
pub mod run_leases;
