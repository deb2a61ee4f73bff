//! What the tests are made of: a private cluster for all of them, an application for each, and actors to play with.
#![allow(dead_code, reason = "not every helper is used by every selection of tests")]

mod app;
mod cases;
mod clerk;
mod cluster;
mod contents;
mod operators;
mod people;
mod provider;
mod proxy;
mod servers;
mod smtp;
mod tls;

pub use app::{TestApp, TestSettings, eventually, local_client};
pub use cases::played;
pub use clerk::{CLERK_SECRET, ClerkInstance, ClerkKey, clerk_delivery};
pub use cluster::{TestCluster, own_cluster, shared_cluster};
pub use operators::TestOperator;
pub use people::{Answer, Caller, Staff, unique};
pub use proxy::Proxy;
pub use smtp::MailServer;
pub use tls::{Authority, TlsServer};
