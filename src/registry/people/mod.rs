//! The operators of the installation, their sessions and their audit log, and the revoked tokens.

pub mod audit_heads;
pub mod audit_log;
pub mod operators;
pub mod revoked_tokens;
pub mod step_ups;
