//! The HTTP front of the gateway: routes, the layer around them, and the way from a request to a
//! tenant's connection.

mod response_metrics;
mod audit;
mod body_memory;
mod code;
mod connection;
mod extract;
mod gateway;
mod json;
mod unread_body;
mod limits;
mod middleware;
mod openapi;
mod operations;
mod problem;
mod readiness;
mod request_id;
mod responses;
mod router;
mod routes;
mod server;
mod short_text;
mod timestamp;

pub use code::Code;
pub use gateway::{Gateway, Modules};
pub use readiness::Readiness;
pub use router::openapi_document;
pub use server::{Listeners, serve};
