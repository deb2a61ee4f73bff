//! The people who run the installation, their sessions and their audit log; what was revoked before its time.

pub mod audit_heads;
pub mod audit_log;
pub mod operators;
pub mod revoked_tokens;
pub mod step_ups;
