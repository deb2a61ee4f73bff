//! What the gateway says about itself.

pub(crate) mod jwks;
pub(crate) mod problems;
pub(crate) mod root;
