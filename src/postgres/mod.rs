//! PostgreSQL: the connection type that every query runs on, the pools that hold connections, and the
//! administration of a server. Knows no tenant.

pub mod administration;
mod connection;
pub mod failure;
mod gate;
pub mod migrating;
mod physical;
mod pool;
mod scram;
pub mod transport;

pub use connection::{Connection, Scoped, Transaction};
pub use failure::ConnectFailure;
pub use gate::{Attempt, Gate, Permit};
pub use physical::{OnConnect, Target};
pub use pool::{Checkout, CheckoutFailure, Pool, PoolLimits};
