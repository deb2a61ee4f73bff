//! The hook before every opening of a connection. It decides whether and when the opening may be
//! tried, and gets the result. The module that makes the target implements the rules.

use std::any::Any;

use futures_util::future::BoxFuture;

use super::failure::ConnectFailure;

/// The permit of one open connection, returned when it is dropped. That happens when the server has
/// confirmed that it does no more work for the connection, or has not answered for longer than a
/// statement may take.
pub type Permit = Box<dyn Any + Send + Sync>;

/// The rules for opening connections to one target.
pub trait AdmissionHook: Send + Sync + 'static {
    /// Waits until one more connection may be tried, or returns why it may not.
    fn before_connect(&self) -> BoxFuture<'_, Result<Box<dyn Attempt>, ConnectFailure>>;

    /// A holder whose connection died waits for another one until the returned value is dropped. An
    /// opening that no caller waits for is withdrawn.
    fn wait_again(&self) -> Box<dyn Any + Send + Sync>;

    /// True if a connection that has served a caller should be closed when it comes back, because
    /// other tenants wait for its permit. Called at every return, so the usual answer must be
    /// cheap.
    fn is_wanted_back(&self) -> bool;
}

/// One attempt to open a connection. An attempt that is dropped without a result was cancelled.
pub trait Attempt: Send {
    /// The connection is open. The returned permit belongs to it.
    fn succeeded(self: Box<Self>) -> Permit;

    /// The connection could not be opened, or failed its check. The returned permit covers the rest
    /// until it is closed.
    fn failed(self: Box<Self>, failure: &ConnectFailure) -> Permit;
}
