//! How the fleet stands, for metrics.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use uuid::Uuid;

use super::reconcile::FindingKind;

/// A view of the fleet at one moment.
#[derive(Clone, Debug)]
pub struct FleetStatistics {
    /// Warm databases that are ready on each server.
    pub spares: Vec<(Uuid, u64)>,
    /// What the last comparison has found on each server, by kind.
    pub findings: Vec<(FindingKind, Uuid, usize)>,
}

/// Warm databases that are ready on each server, as the registry said last.
#[derive(Default)]
pub struct WarmCounts(Mutex<BTreeMap<Uuid, u64>>);

impl WarmCounts {
    /// What the registry says now.
    pub fn set(&self, counts: BTreeMap<Uuid, u64>) {
        *self.0.lock() = counts;
    }

    /// What the registry said last.
    pub fn get(&self) -> BTreeMap<Uuid, u64> {
        self.0.lock().clone()
    }
}
