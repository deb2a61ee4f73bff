//! `/v1/tenant`: the tenant itself.

pub(crate) mod audit_log;
pub(crate) mod impersonations;
pub(crate) mod public;
pub(crate) mod settings;
pub(crate) mod show;
