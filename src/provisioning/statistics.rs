//! How provisioning stands: what this process has seen end, and what the registry said of the rest when it was last
//! asked.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sea_orm::Iterable;

use super::step_error::Refusal;
use crate::registry::runs::provisioning_runs::{OpenRuns, RunKind};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Every step is done.
    Completed,
    /// What was asked for cannot be: its client's affair.
    Refused,
    /// An operator did not want it any more.
    Cancelled,
    /// A step failed for good: ours.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Completed, Self::Refused, Self::Cancelled, Self::Failed];

    /// Stable, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Of a run that was undone for the reason of this code.
    pub(super) fn of_failure(code: Option<&str>) -> Self {
        match code.and_then(Refusal::of_code) {
            Some(Refusal::Cancelled) => Self::Cancelled,
            Some(Refusal::EmailTaken | Refusal::SlugTaken) => Self::Refused,
            None => Self::Failed,
        }
    }
}

/// A view of provisioning at one moment.
#[derive(Clone, Debug)]
pub struct ProvisioningStatistics {
    /// Runs that go on, of all replicas.
    pub open: OpenRuns,
    /// Runs that this process has brought to their end.
    pub ended: Vec<(RunKind, Outcome, u64)>,
}

#[derive(Default)]
struct Inner {
    ended: Mutex<HashMap<(RunKind, Outcome), u64>>,
    /// As the registry said last: runs that go on.
    open: Mutex<OpenRuns>,
}

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Statistics(Arc<Inner>);

impl Statistics {
    /// Runs that go on, as the registry said just now.
    pub fn set_open(&self, open: OpenRuns) {
        *self.0.open.lock() = open;
    }

    /// The numbers as they are known here. Every series is there from the start.
    pub fn view(&self) -> ProvisioningStatistics {
        let ended = self.0.ended.lock();
        let count = |kind, outcome| ended.get(&(kind, outcome)).copied().unwrap_or_default();
        let ended = RunKind::iter()
            .flat_map(|kind| Outcome::ALL.map(|outcome| (kind, outcome, count(kind, outcome))))
            .collect();
        ProvisioningStatistics { open: *self.0.open.lock(), ended }
    }

    /// A run has come to its end in the hands of this process.
    pub fn count_end(&self, kind: RunKind, outcome: Outcome) {
        *self.0.ended.lock().entry((kind, outcome)).or_default() += 1;
    }
}
