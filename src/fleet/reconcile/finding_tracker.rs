//! Keeps the current findings. Each finding is logged once, even if later comparisons find it
//! again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::{Mutex, MutexGuard};

use super::finding::{Finding, FindingKind};
use crate::identifiers::ServerId;

/// Number of findings of one kind on one server that are logged one by one. If a server has lost
/// all its databases, the rest is logged in one line.
const TOLD_SINGLY: usize = 20;

/// Identity of a finding: kind, server, name.
type Key = (FindingKind, ServerId, String);

/// The findings that still hold.
#[derive(Default)]
pub struct FindingTracker(Mutex<BTreeSet<Key>>);

impl FindingTracker {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.0.lock()
    }

    /// Number of findings by kind and server.
    pub fn counts(&self) -> HashMap<(FindingKind, ServerId), usize> {
        let mut counts = HashMap::new();
        for (kind, server, _) in self.lock().iter() {
            *counts.entry((*kind, *server)).or_default() += 1;
        }
        counts
    }

    /// Replaces the findings and logs a warning for each new one. Returns the number of new
    /// findings.
    pub fn report(&self, found: &[Finding]) -> usize {
        let mut known = self.lock();
        let away = |server: &ServerId| {
            found.iter().any(|finding| {
                finding.kind == FindingKind::UnreachableServer && finding.server == *server
            })
        };
        // Earlier findings of a server that is unreachable now are kept.
        let kept = known
            .iter()
            .filter(|(kind, server, _)| *kind != FindingKind::UnreachableServer && away(server));
        let mut now: BTreeSet<Key> = kept.cloned().collect();
        let mut new: BTreeMap<(FindingKind, ServerId), Vec<&Finding>> = BTreeMap::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn finding(kind: FindingKind, server: u128, name: &str) -> Finding {
        Finding {
            kind,
            server: ServerId(Uuid::from_u128(server)),
            server_name: server.to_string(),
            name: name.to_owned(),
            tenant: None,
            detail: None,
            fix: String::new(),
        }
    }

    #[test]
    fn a_finding_is_told_once_until_it_is_gone_and_comes_back() {
        use FindingKind::{MissingDatabase, OrphanDatabase};
        let findings = FindingTracker::default();
        let (a, b) = (finding(OrphanDatabase, 1, "a"), finding(MissingDatabase, 1, "a"));
        assert_eq!(findings.report(std::slice::from_ref(&a)), 1);
        assert_eq!(findings.report(std::slice::from_ref(&a)), 0);
        assert_eq!(findings.report(&[a.clone(), b.clone(), finding(OrphanDatabase, 2, "a")]), 2);
        assert_eq!(findings.counts()[&(OrphanDatabase, ServerId(Uuid::from_u128(1)))], 1);
        assert_eq!(findings.report(&[b]), 0);
        assert_eq!(findings.counts().len(), 1);
        assert_eq!(findings.report(&[a]), 1);
    }

    #[test]
    fn what_was_found_on_a_server_that_is_away_still_counts_and_is_not_told_again() {
        use FindingKind::{OrphanRole, UnreachableServer};
        let findings = FindingTracker::default();
        let (a, b) = (finding(OrphanRole, 1, "a"), finding(OrphanRole, 2, "b"));
        findings.report(&[a.clone(), b]);
        let away = finding(UnreachableServer, 1, "1");
        let also = Finding { detail: Some("another reason".to_owned()), ..away.clone() };
        assert_eq!((findings.report(&[away]), findings.report(&[also])), (1, 0));
        let (there, gone) = (
            (OrphanRole, ServerId(Uuid::from_u128(1))),
            (OrphanRole, ServerId(Uuid::from_u128(2))),
        );
        assert_eq!((findings.counts().get(&there), findings.counts().get(&gone)), (Some(&1), None));
        assert_eq!(findings.report(&[a]), 0);
        assert_eq!(findings.counts().len(), 1);
    }
}
