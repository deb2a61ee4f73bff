//! The integration tests: one binary, a module a room, in the order of the map. They start a private PostgreSQL
//! cluster of their own, which goes away with the process.

mod support;

mod architecture;
mod http;
mod authentication;
mod members;
mod branches;
mod tenant_router;
mod postgres;
mod administration;
mod local_cluster;
