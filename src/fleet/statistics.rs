//! Numbers of the fleet, for metrics.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use uuid::Uuid;

use super::reconcile::FindingKind;

/// The numbers at one moment.
#[derive(Clone, Debug)]
pub struct FleetStatistics {
    /// Ready warm databases on each server.
    pub spares: Vec<(Uuid, u64)>,
    /// Findings of the last comparison, by kind and server.
    pub findings: Vec<(FindingKind, Uuid, usize)>,
}

/// Ready warm databases on each server, as last read from the registry.
#[derive(Default)]
pub struct WarmCounts(Mutex<BTreeMap<Uuid, u64>>);

impl WarmCounts {
    /// Stores newly read numbers.
    pub fn set(&self, counts: BTreeMap<Uuid, u64>) {
        *self.0.lock() = counts;
    }

    /// The numbers as last read.
    pub fn get(&self) -> BTreeMap<Uuid, u64> {
        self.0.lock().clone()
    }
}
