//! The runs of provisioning: what was asked for, its steps, the lease of the process that works on it, and what it made.

pub mod provisioning_runs;
pub mod registrations;
pub mod resources;
pub mod run_leases;
