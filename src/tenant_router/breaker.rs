//! Circuit breakers. A tenant or a server to which no connection could be opened is not tried for a
//! while, longer after each failure, and then by one caller at a time. The state outlives the
//! pools.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::identifiers::{ServerId, TenantId};
use crate::postgres::ConnectFailure;

/// The first wait. Each further one is twice as long, up to the longest, less up to a half at random:
/// replicas and tenants that failed together must not try again together.
const FIRST: Duration = Duration::from_millis(200);
/// A tenant's database that works again is found after `longest` at the latest.
const OF_TENANT: Backoff = Backoff { first: FIRST, longest: Duration::from_secs(5), chance: 0.5 };
/// A server concerns many tenants, and one attempt a second costs little.
const OF_SERVER: Backoff = Backoff { first: FIRST, longest: Duration::from_secs(1), chance: 0.5 };
/// After failures of this many different tenants without a success in between, the breaker of their
/// server trips.
const TENANTS_THAT_CONVICT_A_SERVER: usize = 3;
/// Failures of different tenants trip the breaker of their server if they come within this time.
const CONVICTION_WINDOW: Duration = Duration::from_secs(10);
/// A failure is forgotten if no caller has tried again for this long after its backoff.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Tenants whose failures are kept. The tenants that failed longest ago are removed first.
const CAPACITY: usize = 10_000;
/// After a wrong address or password, the registry is asked for a tenant's row at most this often.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// How a breaker treats the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// The attempt is let through.
    Closed,
    /// The attempt is refused until the backoff is over.
    Open,
    /// One attempt is let through as a probe.
    HalfOpen,
}

impl BreakerState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// A stable name for metrics and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The failure of a tenant or of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerFailure {
    /// The state of the breaker.
    pub state: BreakerState,
    /// Failures since the last success.
    pub failures: u32,
    /// The error of the last attempt.
    pub last: ConnectFailure,
    /// The time of the last failure.
    pub at: DateTime<Utc>,
}

struct BackoffState {
    server: ServerId,
    failures: u32,
    until: Instant,
    is_probed: bool,
    last: ConnectFailure,
    at: DateTime<Utc>,
    refreshed: Option<Instant>,
}

impl BackoffState {
    fn refuse(&self, retry_after: Duration) -> ConnectFailure {
        ConnectFailure::BackingOff { retry_after, last: Box::new(self.last.clone()) }
    }

    /// Admits this attempt as the half-open probe, or returns `BackingOff`.
    fn admit(&mut self) -> Result<(), ConnectFailure> {
        let rest = self.until.saturating_duration_since(Instant::now());
        if !rest.is_zero() {
            return Err(self.refuse(rest));
        }
        if self.is_probed {
            return Err(self.refuse(FIRST));
        }
        self.is_probed = true;
        Ok(())
    }

    fn is_forgotten(&self) -> bool {
        self.until.elapsed() > FORGOTTEN_AFTER
    }

    fn state(&self) -> BreakerState {
        if self.until > Instant::now() { BreakerState::Open } else { BreakerState::HalfOpen }
    }
}

fn next(
    before: Option<&BackoffState>,
    server: ServerId,
    failure: &ConnectFailure,
    backoff: Backoff,
    at: DateTime<Utc>,
) -> BackoffState {
    let before = before.filter(|back| !back.is_forgotten());
    let running = before.filter(|back| back.until > Instant::now());
    // Attempts that began together and fail together count as one failure.
    let (failures, until) = match running {
        Some(back) => (back.failures, back.until),
        None => {
            let failures = before.map_or(0, |back| back.failures).saturating_add(1);
            (failures, Instant::now() + backoff.after(failures))
        }
    };
    BackoffState {
        server,
        failures,
        until,
        is_probed: false,
        last: failure.clone(),
        at,
        refreshed: before.and_then(|back| back.refreshed),
    }
}

struct State {
    tenants: LruCache<TenantId, BackoffState>,
    servers: HashMap<ServerId, ServerBreaker>,
}

#[derive(Default)]
struct ServerBreaker {
    back: Option<BackoffState>,
    /// Tenants that failed to reach the server since the last success of any tenant.
    failing_tenants: Vec<(TenantId, Instant)>,
}

/// The breakers of all tenants and servers.
pub(super) struct Breakers {
    state: Mutex<State>,
    clock: Clock,
}

impl Breakers {
    pub fn new(clock: Clock) -> Self {
        let state = State { tenants: LruCache::unbounded(), servers: HashMap::new() };
        Self { state: Mutex::new(state), clock }
    }

    /// Decides whether a connection to this tenant may be tried. The caller must report the outcome
    /// to the guard.
    pub fn admit(
        self: &Arc<Self>,
        tenant: TenantId,
        server: ServerId,
    ) -> Result<ProbeGuard, ConnectFailure> {
        let mut state = self.state.lock();
        let on_server = state.servers.entry(server).or_default();
        if let Some(back) = &mut on_server.back {
            back.admit()?;
        }
        if state.tenants.peek(&tenant).is_some_and(BackoffState::is_forgotten) {
            state.tenants.pop(&tenant);
        }
        if let Some(Err(refused)) = state.tenants.peek_mut(&tenant).map(BackoffState::admit) {
            // The probe of the server is left to a tenant that may be tried.
            if let Some(back) = state.servers.get_mut(&server).and_then(|s| s.back.as_mut()) {
                back.is_probed = false;
            }
            return Err(refused);
        }
        Ok(ProbeGuard { breakers: self.clone(), tenant, server, is_told: false })
    }

    /// Forgets a tenant's failures, because it has another address or password now.
    pub fn reset(&self, tenant: TenantId) {
        self.state.lock().tenants.pop(&tenant);
    }

    /// True if the registry may be asked whether a failing tenant has moved. Rate-limited.
    pub fn may_refresh(&self, tenant: TenantId) -> bool {
        let mut state = self.state.lock();
        let Some(back) = state.tenants.peek_mut(&tenant) else { return false };
        let due = back.refreshed.is_none_or(|last| last.elapsed() >= REFRESH_EVERY);
        if due {
            back.refreshed = Some(Instant::now());
        }
        due
    }

    /// The failure of a tenant. `None` if its breaker is closed.
    pub fn failure_of_tenant(&self, tenant: TenantId) -> Option<BreakerFailure> {
        let state = self.state.lock();
        state.tenants.peek(&tenant).filter(|back| !back.is_forgotten()).map(described)
    }

    /// The failure of a server. `None` if its breaker is closed.
    pub fn failure_of_server(&self, server: ServerId) -> Option<BreakerFailure> {
        self.state.lock().servers.get(&server).and_then(|s| s.back.as_ref()).map(described)
    }

    /// The number of tenants whose breaker is open, then of those whose breaker is half-open.
    pub fn failing_tenants(&self) -> (usize, usize) {
        let mut state = self.state.lock();
        let forgotten: Vec<TenantId> = state
            .tenants
            .iter()
            .filter(|(_, back)| back.is_forgotten())
            .map(|(tenant, _)| *tenant)
            .collect();
        for tenant in forgotten {
            state.tenants.pop(&tenant);
        }
        let open = state.tenants.iter().filter(|(_, b)| b.state() == BreakerState::Open).count();
        (open, state.tenants.len() - open)
    }
}

fn described(back: &BackoffState) -> BreakerFailure {
    BreakerFailure {
        state: back.state(),
        failures: back.failures,
        last: back.last.clone(),
        at: back.at,
    }
}

/// True if the failure concerns the server, and not only the tenant. A full server has answered.
fn is_of_server(failure: &ConnectFailure) -> bool {
    matches!(
        failure,
        ConnectFailure::Timeout | ConnectFailure::Unreachable(_) | ConnectFailure::Insecure(_)
    )
}

/// An attempt to open a connection.
pub(super) struct ProbeGuard {
    breakers: Arc<Breakers>,
    tenant: TenantId,
    server: ServerId,
    is_told: bool,
}

impl ProbeGuard {
    pub fn succeeded(mut self) {
        self.is_told = true;
        let mut state = self.breakers.state.lock();
        state.tenants.pop(&self.tenant);
        if let Some(server) = state.servers.get_mut(&self.server) {
            server.failing_tenants.clear();
            if server.back.take().is_some() {
                tracing::info!(server = %self.server, "a database server answers again");
                // The failure that these tenants met is over.
                for (_, back) in &mut state.tenants {
                    if back.server == self.server && is_of_server(&back.last) {
                        back.until = back.until.min(Instant::now());
                    }
                }
            }
        }
    }

    pub fn failed(mut self, failure: &ConnectFailure) {
        // Our own limit tells nothing about the database.
        if matches!(
            failure,
            ConnectFailure::NoPermit
                | ConnectFailure::Withdrawn
                | ConnectFailure::BackingOff { .. }
        ) {
            return;
        }
        self.is_told = true;
        let now = self.breakers.clock.now();
        let mut state = self.breakers.state.lock();
        let before = state.tenants.peek(&self.tenant);
        let back = next(before, self.server, failure, OF_TENANT, now);
        state.tenants.push(self.tenant, back);
        if state.tenants.len() > CAPACITY {
            state.tenants.pop_lru();
        }
        let server = state.servers.entry(self.server).or_default();
        if !is_of_server(failure) {
            // The server has answered; what it refused concerns the tenant alone.
            server.back = None;
            server.failing_tenants.clear();
            return;
        }
        server
            .failing_tenants
            .retain(|(tenant, at)| *tenant != self.tenant && at.elapsed() < CONVICTION_WINDOW);
        server.failing_tenants.truncate(TENANTS_THAT_CONVICT_A_SERVER);
        server.failing_tenants.push((self.tenant, Instant::now()));
        if server.back.is_some() || server.failing_tenants.len() >= TENANTS_THAT_CONVICT_A_SERVER {
            if server.back.is_none() {
                tracing::warn!(server = %self.server, %failure, "a database server does not answer; backing off");
            }
            let back = next(server.back.as_ref(), self.server, failure, OF_SERVER, now);
            server.back = Some(back);
        }
    }
}

impl Drop for ProbeGuard {
    /// The attempt ended without an outcome: the next caller may try.
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        let mut state = self.breakers.state.lock();
        if let Some(back) = state.tenants.peek_mut(&self.tenant) {
            back.is_probed = false;
        }
        if let Some(back) = state.servers.get_mut(&self.server).and_then(|s| s.back.as_mut()) {
            back.is_probed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use uuid::Uuid;

    const SERVER: ServerId = ServerId(Uuid::from_u128(99));

    fn breakers() -> Arc<Breakers> {
        Arc::new(Breakers::new(Clock::system()))
    }

    fn tenant(n: u128) -> TenantId {
        TenantId(Uuid::from_u128(n))
    }

    fn fail(breakers: &Arc<Breakers>, n: u128, failure: &ConnectFailure) {
        breakers.admit(tenant(n), SERVER).expect("not admitted").failed(failure);
    }

    async fn wait_for_half_open(trouble: impl Fn() -> Option<BreakerFailure>) {
        while trouble().is_some_and(|trouble| trouble.state == BreakerState::Open) {
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    }

    fn refused() -> ConnectFailure {
        ConnectFailure::Refused("no".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_followed_by_a_back_off_one_probe_and_a_longer_back_off() {
        let breakers = breakers();
        fail(&breakers, 1, &refused());
        let Err(ConnectFailure::BackingOff { retry_after, last }) =
            breakers.admit(tenant(1), SERVER).map(|_| ())
        else {
            panic!("no back-off");
        };
        assert!(retry_after >= FIRST / 2 && retry_after <= FIRST, "{retry_after:?}");
        assert_eq!(*last, refused());
        breakers.admit(tenant(2), SERVER).expect("another tenant noticed").succeeded();

        wait_for_half_open(|| breakers.failure_of_tenant(tenant(1))).await;
        let probe = breakers.admit(tenant(1), SERVER).expect("no probe");
        assert!(breakers.admit(tenant(1), SERVER).is_err(), "two probes at once");
        drop(probe);
        let probe = breakers.admit(tenant(1), SERVER).expect("a probe given up blocks all");
        probe.failed(&refused());
        let trouble = breakers.failure_of_tenant(tenant(1)).unwrap();
        assert_eq!((trouble.failures, trouble.state), (2, BreakerState::Open));

        wait_for_half_open(|| breakers.failure_of_tenant(tenant(1))).await;
        breakers.admit(tenant(1), SERVER).expect("no probe").succeeded();
        assert_eq!(breakers.failure_of_tenant(tenant(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_fail_together_are_one_failure() {
        let breakers = breakers();
        let attempts: Vec<_> =
            (0..10).map(|_| breakers.admit(tenant(1), SERVER).unwrap()).collect();
        attempts.into_iter().for_each(|attempt| attempt.failed(&refused()));
        let trouble = breakers.failure_of_tenant(tenant(1)).unwrap();
        assert_eq!(trouble.failures, 1);
        tokio::time::advance(FIRST).await;
        assert!(breakers.admit(tenant(1), SERVER).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_tenants_of_a_server_that_answers_again_are_not_left_alone_any_longer() {
        let breakers = breakers();
        for n in [1, 2, 3] {
            fail(&breakers, n, &ConnectFailure::Timeout);
        }
        wait_for_half_open(|| breakers.failure_of_server(SERVER)).await;
        breakers.admit(tenant(4), SERVER).expect("no probe").succeeded();
        for n in [1, 2, 3] {
            assert!(breakers.admit(tenant(n), SERVER).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_nobody_repeats_is_forgotten() {
        let breakers = breakers();
        fail(&breakers, 1, &refused());
        tokio::time::advance(FIRST + FORGOTTEN_AFTER * 2).await;
        assert_eq!(breakers.failure_of_tenant(tenant(1)), None);
        assert_eq!(breakers.failing_tenants(), (0, 0));
    }

    #[rstest]
    #[case(1, FIRST / 2, FIRST)]
    #[case(3, FIRST * 2, FIRST * 4)]
    #[case(40, OF_TENANT.longest / 2, OF_TENANT.longest)]
    fn the_back_off_doubles_up_to_the_longest_less_up_to_a_half(
        #[case] failures: u32,
        #[case] least: Duration,
        #[case] most: Duration,
    ) {
        for _ in 0..200 {
            let found = OF_TENANT.after(failures);
            assert!(found >= least && found <= most, "{found:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn three_tenants_that_cannot_reach_a_server_convict_it_and_one_probe_acquits_it() {
        let breakers = breakers();
        let away = ConnectFailure::Timeout;
        for n in [1, 2] {
            fail(&breakers, n, &away);
        }
        wait_for_half_open(|| breakers.failure_of_tenant(tenant(2))).await;
        fail(&breakers, 2, &away);
        assert_eq!(breakers.failure_of_server(SERVER), None, "convicted by two");
        fail(&breakers, 3, &away);
        assert!(breakers.failure_of_server(SERVER).is_some());
        assert!(breakers.admit(tenant(4), SERVER).is_err());
        assert!(breakers.admit(tenant(4), ServerId(Uuid::nil())).is_ok(), "another server noticed");

        wait_for_half_open(|| breakers.failure_of_server(SERVER)).await;
        let probe = breakers.admit(tenant(4), SERVER).expect("no probe");
        assert!(breakers.admit(tenant(5), SERVER).is_err(), "two probes at once");
        probe.succeeded();
        assert_eq!(breakers.failure_of_server(SERVER), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_server_refuses_of_one_tenant_is_not_its_own_failure() {
        let breakers = breakers();
        for n in 1..10 {
            fail(&breakers, n, &refused());
        }
        assert_eq!(breakers.failure_of_server(SERVER), None);
        assert_eq!(breakers.failing_tenants(), (9, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_has_moved_is_forgiven_and_the_registry_is_not_asked_too_often() {
        let breakers = breakers();
        assert!(!breakers.may_refresh(tenant(1)), "nothing is wrong with it");
        fail(&breakers, 1, &refused());
        assert!(breakers.may_refresh(tenant(1)));
        assert!(!breakers.may_refresh(tenant(1)));
        tokio::time::advance(REFRESH_EVERY).await;
        assert!(breakers.may_refresh(tenant(1)));
        breakers.reset(tenant(1));
        assert!(breakers.admit(tenant(1), SERVER).is_ok());
    }
}
