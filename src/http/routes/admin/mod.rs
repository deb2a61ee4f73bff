//! `/v1/admin`: for the operators of the installation.

pub(crate) mod audit_log;
pub(crate) mod auth;
pub(crate) mod operators;
pub(crate) mod runs;
pub(crate) mod servers;
pub(crate) mod tenants;
