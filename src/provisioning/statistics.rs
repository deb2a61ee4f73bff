//! How provisioning stands: what this process has seen end, and what the registry said of the rest when it was last
//! asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use sea_orm::Iterable;
use uuid::Uuid;

use super::reconcile::{FindingKind, Ledger};
use super::{Provisioner, Refusal};
use crate::registry::RegistryError;
use crate::registry::runs::provisioning_runs::{self, OpenRuns, RunKind};
use crate::registry::tenants::REGISTRY_SERVER;
use crate::registry::tenants::spare_databases;

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
    /// Spares that are ready on each server.
    pub spares: Vec<(Uuid, u64)>,
    /// What the last comparison has found on each server, by kind.
    pub findings: Vec<(FindingKind, Uuid, usize)>,
}

#[derive(Default)]
struct Inner {
    ended: Mutex<HashMap<(RunKind, Outcome), u64>>,
    /// As the registry said last: runs that go on, and spares of every server.
    seen: Mutex<(OpenRuns, BTreeMap<Uuid, u64>)>,
    findings: Ledger,
}

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Statistics(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Statistics {
    /// A run has come to its end in the hands of this process.
    pub fn count_end(&self, kind: RunKind, outcome: Outcome) {
        *lock(&self.0.ended).entry((kind, outcome)).or_default() += 1;
    }

    /// What does not fit.
    pub fn findings(&self) -> &Ledger {
        &self.0.findings
    }
}

impl Provisioner {
    /// Asks the registry for the numbers that it alone knows.
    pub async fn take_stock(&self) -> Result<(), RegistryError> {
        let db = self.tools.registry.connect().await?;
        let open = provisioning_runs::open_runs(&db).await?;
        let spares = spare_databases::ready_by_server(&db).await?;
        let spares = spares.into_iter().map(|(id, ready)| (id, u64::try_from(ready).unwrap_or(0)));
        *lock(&self.tools.statistics.0.seen) = (open, spares.collect());
        Ok(())
    }

    /// The numbers as they are known here. Every series is there from the start; those of a server but the registry's
    /// own from the first look at the registry.
    pub fn statistics(&self) -> ProvisioningStatistics {
        let inner = &self.tools.statistics.0;
        let ended = lock(&inner.ended);
        let count = |kind, outcome| ended.get(&(kind, outcome)).copied().unwrap_or_default();
        let ended = RunKind::iter()
            .flat_map(|kind| Outcome::ALL.map(|outcome| (kind, outcome, count(kind, outcome))))
            .collect();
        let (open, mut spares) = lock(&inner.seen).clone();
        spares.entry(REGISTRY_SERVER).or_default();
        let counts = inner.findings.counts();
        let count = |kind, server| counts.get(&(kind, server)).copied().unwrap_or_default();
        let findings = spares
            .keys()
            .flat_map(|id| FindingKind::ALL.map(|kind| (kind, *id, count(kind, *id))))
            .collect();
        ProvisioningStatistics { open, ended, spares: spares.into_iter().collect(), findings }
    }
}
