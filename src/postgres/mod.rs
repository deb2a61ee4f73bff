//! PostgreSQL: the connection type that every query runs on, the pools that hold connections, and
//! the administration of a server. This module knows no tenant.

pub mod administration;
mod connection;
pub mod failure;
mod admission_hook;
mod autosize;
mod connection_source;
pub mod migrating;
mod raw_connection;
mod pool;
mod row;
mod scram;
mod session;
mod signals;
pub mod transport;

pub use admission_hook::{AdmissionHook, Attempt, Permit};
pub use connection::{Connection, Scoped, Transaction};
pub use failure::ConnectFailure;
pub use pool::{Checkout, CheckoutFailure, Pool, PoolLimits};
pub use raw_connection::{OnConnect, Target};
pub use row::Row;
pub use signals::{Renewals, ServerSignals};

/// With these settings the server ends the sessions of a machine that has vanished silently within
/// half a minute. With its defaults it does so after two hours. See "TCP Settings" in
/// PostgreSQL's manual.
pub const KEEPALIVES: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30s"),
];
