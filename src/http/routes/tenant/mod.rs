//! `/v1/tenant`: the tenant itself.

pub(crate) mod public;
