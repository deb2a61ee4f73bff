//! The integration tests: one binary, a module a room, in the order of the map. They start a private PostgreSQL
//! cluster of their own, which goes away with the process.

mod support;

mod administration;
mod architecture;
mod local_cluster;
mod postgres;
mod smoke;
mod tenant_router;
