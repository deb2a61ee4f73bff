//! What stands before the opening of every connection of a target: whether and when it may be tried, and who hears
//! how it went. The rules themselves belong to whoever makes the target.

use std::any::Any;

use futures_util::future::BoxFuture;

use super::failure::ConnectFailure;

/// A connection's place among those that may be open. Given back when it is dropped, which happens when the server
/// does no more work for the connection, as it has confirmed, or has been silent for longer than a statement may take.
pub type Permit = Box<dyn Any + Send + Sync>;

/// The rules for opening connections to one target.
pub trait AdmissionHook: Send + Sync + 'static {
    /// Waits until one more connection may be tried, or says why it may not.
    fn before_connect(&self) -> BoxFuture<'_, Result<Box<dyn Attempt>, ConnectFailure>>;

    /// A holder whose connection died waits for another until this is dropped: an opening that nobody waits for is
    /// withdrawn.
    fn wait_again(&self) -> Box<dyn Any + Send + Sync>;

    /// Should a connection that has served somebody be closed when it comes back, because others wait for its place?
    /// Asked at every return, so the usual answer must cost nothing.
    fn is_wanted_back(&self) -> bool;
}

/// One try to open a connection. Dropped without a word, it was given up.
pub trait Attempt: Send {
    /// It is open; the permit goes with it.
    fn succeeded(self: Box<Self>) -> Permit;

    /// It could not be opened, or did not pass its check. The permit is for what is left to be closed.
    fn failed(self: Box<Self>, failure: &ConnectFailure) -> Permit;
}
