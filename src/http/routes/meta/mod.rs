//! Routes about the gateway itself.

pub(crate) mod jwks;
pub(crate) mod problems;
pub(crate) mod root;
