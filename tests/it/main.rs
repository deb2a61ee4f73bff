//! The integration tests: one binary, a module a room, in the order of the map. They start a private PostgreSQL
//! cluster of their own, which goes away with the process.

mod support;

mod command_line;
mod webhooks;
mod provisioning;
mod registry;
mod local_cluster;
mod smoke;
