//! What has been found and told: each finding is told once, however often it is found again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

use uuid::Uuid;

use super::{Finding, FindingKind};

/// Findings of one kind on one server that are told one by one. Where a server has lost everything, the rest is told in
/// one line.
const TOLD_SINGLY: usize = 20;

/// By what a finding is known again.
type Key = (FindingKind, Uuid, String);

/// The findings that hold.
#[derive(Default)]
pub(in crate::provisioning) struct Ledger(Mutex<BTreeSet<Key>>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How many there are of each kind on each server.
    pub fn counts(&self) -> HashMap<(FindingKind, Uuid), usize> {
        let mut counts = HashMap::new();
        for (kind, server, _) in self.lock().iter() {
            *counts.entry((*kind, *server)).or_default() += 1;
        }
        counts
    }

    /// Takes down what was found, and warns of what is new. Returns how many findings were new.
    pub fn tell(&self, found: &[Finding]) -> usize {
        let mut known = self.lock();
        let away = |server: &Uuid| {
            found.iter().any(|finding| {
                finding.kind == FindingKind::UnreachableServer && finding.server == *server
            })
        };
        // Of a server that cannot be asked, what was found before counts on.
        let kept = known.iter().filter(|(kind, server, _)| {
            *kind != FindingKind::UnreachableServer && away(server)
        });
        let mut now: BTreeSet<Key> = kept.cloned().collect();
        let mut new: BTreeMap<(FindingKind, Uuid), Vec<&Finding>> = BTreeMap::new();
        for finding in found {
            let key = (finding.kind, finding.server, finding.name.clone());
            if !known.contains(&key) {
                new.entry((finding.kind, finding.server)).or_default().push(finding);
            }
            now.insert(key);
        }
        for findings in new.values() {
            warn(findings);
        }
        for (kind, _, name) in known.difference(&now) {
            tracing::info!(kind = kind.name(), name, "found no more on the database servers");
        }
        *known = now;
        new.values().map(Vec::len).sum()
    }
}

fn warn(findings: &[&Finding]) {
    for Finding { kind, server_name: server, name, tenant, detail, fix, .. } in
        findings.iter().take(TOLD_SINGLY)
    {
        let (kind, tenant) = (kind.name(), tenant.as_deref());
        let detail = detail.as_deref();
        tracing::warn!(kind, server, name, tenant, detail, fix, "found on a database server");
    }
    let more = findings.len().saturating_sub(TOLD_SINGLY);
    if let Some(Finding { kind, server_name: server, .. }) = findings.first()
        && more > 0
    {
        let kind = kind.name();
        tracing::warn!(kind, server, more, "and more of these; `narthex reconcile` shows all");
    }
}
