//! What load balancers ask.

pub(crate) mod live;
pub(crate) mod ready;
