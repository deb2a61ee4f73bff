//! The integration tests: one binary, a module for each module of `src`, in the order of the map. They start a private PostgreSQL
//! cluster of their own, which goes away with the process.

mod support;

mod architecture;
mod command_line;
mod http;
mod webhooks;
mod tenants;
mod operators;
mod provisioning;
mod accounts;
mod fleet;
mod access;
mod members;
mod branches;
mod tenant_data;
mod tenant_router;
mod registry;
mod postgres;
mod administration;
mod migrations;
mod local_cluster;
