//! Health checks for load balancers.

pub(crate) mod live;
pub(crate) mod ready;
