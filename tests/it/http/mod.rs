//! The gateway's front, over real HTTP: bad input, the contract, who may do what, registration, health.

pub mod quiet;
pub mod raw;

mod bad_bodies;
mod bad_fields;
mod bad_requests;
mod body_memory;
mod contract;
mod cross_tenant;
mod drain;
mod floods;
mod health;
mod hosts;
mod idempotency;
mod limits;
mod late_bodies;
mod lists;
mod metrics;
mod operations;
mod permissions;
mod problems;
mod registration;
pub mod routes;
