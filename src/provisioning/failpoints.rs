//! How tests interfere with steps: a failure, or the death of the process, before or after an effect.

use std::sync::Arc;

/// Where a test may interfere with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailpointPosition {
    /// Nothing has happened yet.
    BeforeEffect,
    /// It has happened, and the answer is lost.
    AfterEffect,
    /// It is about to be undone.
    BeforeUndo,
    /// It is undone, and the answer is lost.
    AfterUndo,
}

/// How a test interferes with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailpointAction {
    /// For a reason that may pass.
    Fails,
    /// For one that does not pass.
    FailsForGood,
    /// The process is gone, and records nothing any more.
    Dies,
}

/// Says what is to happen to a step at a moment.
pub type Failpoints =
    Arc<dyn Fn(&'static str, FailpointPosition) -> Option<FailpointAction> + Send + Sync>;
