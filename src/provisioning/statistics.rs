//! The state of provisioning: the runs that this process has ended, and the open runs as the
//! registry last reported them.

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
    /// The request could not be met, for a reason that concerns its client.
    Refused,
    /// An operator has cancelled the run.
    Cancelled,
    /// A step had a permanent error, which concerns the service.
    Failed,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [Self::Completed, Self::Refused, Self::Cancelled, Self::Failed];

    /// A stable name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// The outcome of a run that was undone, from its error code.
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
    /// The open runs of all replicas.
    pub open: OpenRuns,
    /// The number of runs that this process has ended, by kind and outcome.
    pub ended: Vec<(RunKind, Outcome, u64)>,
}

#[derive(Default)]
struct Inner {
    ended: Mutex<HashMap<(RunKind, Outcome), u64>>,
    /// The open runs, as the registry last reported them.
    open: Mutex<OpenRuns>,
}

/// The counters. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Statistics(Arc<Inner>);

impl Statistics {
    /// Stores the open runs that the registry has just reported.
    pub fn set_open(&self, open: OpenRuns) {
        *self.0.open.lock() = open;
    }

    /// The numbers as this process knows them. Every series is present from the start.
    pub fn view(&self) -> ProvisioningStatistics {
        let ended = self.0.ended.lock();
        let count = |kind, outcome| ended.get(&(kind, outcome)).copied().unwrap_or_default();
        let ended = RunKind::iter()
            .flat_map(|kind| Outcome::ALL.map(|outcome| (kind, outcome, count(kind, outcome))))
            .collect();
        ProvisioningStatistics { open: *self.0.open.lock(), ended }
    }

    /// Counts a run that this process has ended.
    pub fn count_end(&self, kind: RunKind, outcome: Outcome) {
        *self.0.ended.lock().entry((kind, outcome)).or_default() += 1;
    }
}
