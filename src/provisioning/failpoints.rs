//! Failpoints: how tests cause a failure, or the death of the process, before or after an effect.

use std::sync::Arc;

/// Where a failpoint takes effect in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailpointPosition {
    /// Before `apply` has changed anything.
    BeforeEffect,
    /// After the effect, so that its result is lost.
    AfterEffect,
    /// Before `undo` has changed anything.
    BeforeUndo,
    /// After the undo, so that its result is lost.
    AfterUndo,
}

/// What a failpoint causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailpointAction {
    /// A transient error.
    Fails,
    /// A permanent error.
    FailsForGood,
    /// The death of the process, which records nothing any more.
    Dies,
}

/// Returns the action for a step at a position, or `None`.
pub type Failpoints =
    Arc<dyn Fn(&'static str, FailpointPosition) -> Option<FailpointAction> + Send + Sync>;
