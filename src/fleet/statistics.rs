//! Numbers of the fleet, for metrics.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::reconcile::FindingKind;
use crate::identifiers::ServerId;

/// The numbers at one moment.
#[derive(Clone, Debug)]
pub struct FleetStatistics {
    /// Ready warm databases on each server.
    pub spares: Vec<(ServerId, u64)>,
    /// Findings of the last comparison, by kind and server.
    pub findings: Vec<(FindingKind, ServerId, usize)>,
}

/// Ready warm databases on each server, as last read from the registry.
#[derive(Default)]
pub struct WarmCounts(Mutex<BTreeMap<ServerId, u64>>);

impl WarmCounts {
    /// Stores newly read numbers.
    pub fn set(&self, counts: BTreeMap<ServerId, u64>) {
        *self.0.lock() = counts;
    }

    /// The numbers as last read.
    pub fn get(&self) -> BTreeMap<ServerId, u64> {
        self.0.lock().clone()
    }
}
