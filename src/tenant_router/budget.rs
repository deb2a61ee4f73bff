//! How many connections may be open to one database server, over all tenants, and which tenant gets
//! the next one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::identifiers::{ServerId, TenantId};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// One permit in this many is kept for webhooks and operators.
const RESERVED_ONE_IN: u32 = 10;

/// The limit for a connection to close after it was told to; most close much sooner.
const CLOSES_WITHIN: Duration = Duration::from_millis(300);

/// Closes idle connections of a server. Called when an opening waits for a permit there.
pub(super) trait Reclaim: Send + Sync {
    fn reclaim(&self, server: ServerId);
}

/// The permits of one server.
///
/// The sharing is max-min fair between tenants. A free permit goes to the tenant with the fewest
/// connections; between equal tenants, to the one that has waited longest. While an opening waits,
/// idle connections of other tenants are closed for it. A tenant gives up a returning connection if
/// the waiting tenant has no connection at all, or at least two fewer. So a tenant under heavy load
/// gets everything that no other tenant wants, and loses it request by request when another tenant
/// wants it.
pub(super) struct Budget {
    server: ServerId,
    state: Mutex<State>,
    /// True while an opening waits. Read at every return of a connection.
    is_short: AtomicBool,
    reclaimer: Weak<dyn Reclaim>,
}

struct State {
    limit: u32,
    used: u32,
    /// Permits by tenant. A tenant without any permit is not in the map.
    held: HashMap<TenantId, u32>,
    waiting: Vec<Waiter>,
    /// When connections were told to close for waiting openings, for permits that have not come
    /// back yet.
    coming: VecDeque<Instant>,
    next_ticket: u64,
}

struct Waiter {
    ticket: u64,
    tenant: TenantId,
    urgent: Arc<AtomicUsize>,
    grant: oneshot::Sender<BudgetPermit>,
}

/// Why an opening got no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoBudget {
    /// No permit came free in time.
    NoneCameFree,
    /// The opening is no longer needed.
    Withdrawn,
}

/// The use of a server's budget at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetUse {
    /// All permits of this replica for the server.
    pub limit: u32,
    /// Permits that are taken.
    pub used: u32,
    /// Openings that wait for a permit.
    pub waiting: usize,
}

impl State {
    fn held(&self, tenant: TenantId) -> u32 {
        self.held.get(&tenant).copied().unwrap_or(0)
    }

    fn reserve(&self) -> u32 {
        // With few permits a reserve would only leave them unused.
        if self.limit < RESERVED_ONE_IN { 0 } else { self.limit / RESERVED_ONE_IN }
    }

    fn has_room(&self, urgent: &AtomicUsize) -> bool {
        let is_urgent = urgent.load(Ordering::Acquire) > 0;
        self.used < self.limit - if is_urgent { 0 } else { self.reserve() }
    }

    fn take(&mut self, tenant: TenantId) {
        self.used += 1;
        *self.held.entry(tenant).or_default() += 1;
    }

    fn give_back(&mut self, tenant: TenantId) {
        self.used = self.used.saturating_sub(1);
        self.coming.pop_front();
        if let Some(held) = self.held.get_mut(&tenant) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&tenant);
            }
        }
    }

    /// The number of permits that are about to come back. A permit that is overdue is not counted
    /// any more.
    fn coming(&mut self) -> usize {
        while self.coming.front().is_some_and(|told| told.elapsed() > CLOSES_WITHIN) {
            self.coming.pop_front();
        }
        self.coming.len()
    }

    /// The number of waiting openings whose tenant has no permit, or at least two fewer than
    /// `tenant`.
    fn poorer_than(&self, tenant: TenantId) -> usize {
        let own = self.held(tenant);
        let is_poorer = |waiter: &&Waiter| {
            let theirs = self.held(waiter.tenant);
            waiter.tenant != tenant && (theirs == 0 || own >= theirs + 2)
        };
        self.waiting.iter().filter(is_poorer).count()
    }

    /// The waiting opening for which there is room and whose tenant has the fewest permits; between
    /// equal ones, the first that came.
    fn next(&self) -> Option<usize> {
        (0..self.waiting.len())
            .filter(|at| self.has_room(&self.waiting[*at].urgent))
            .min_by_key(|at| (self.held(self.waiting[*at].tenant), self.waiting[*at].ticket))
    }
}

impl Budget {
    pub fn new(server: ServerId, limit: u32, reclaimer: Weak<dyn Reclaim>) -> Self {
        let state = State {
            limit,
            used: 0,
            held: HashMap::new(),
            waiting: Vec::new(),
            coming: VecDeque::new(),
            next_ticket: 0,
        };
        Self { server, state: Mutex::new(state), is_short: AtomicBool::new(false), reclaimer }
    }

    /// Changes the limit. If more permits are taken than the new limit, none is given until enough
    /// came back.
    pub fn set_limit(self: &Arc<Self>, limit: u32) {
        self.state.lock().limit = limit;
        self.grant();
    }

    pub fn usage(&self) -> BudgetUse {
        let state = self.state.lock();
        BudgetUse { limit: state.limit, used: state.used, waiting: state.waiting.len() }
    }

    /// A permit for a connection of `tenant`, within `patience`. `urgent` counts the callers of
    /// this tenant that may use the reserve at the moment.
    pub async fn acquire(
        self: &Arc<Self>,
        tenant: TenantId,
        urgent: Arc<AtomicUsize>,
        patience: Duration,
    ) -> Result<BudgetPermit, NoBudget> {
        let (ticket, granted) = {
            let mut state = self.state.lock();
            if state.waiting.is_empty() && state.has_room(&urgent) {
                state.take(tenant);
                return Ok(BudgetPermit { budget: self.clone(), tenant });
            }
            let (grant, granted) = oneshot::channel();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.push(Waiter { ticket, tenant, urgent, grant });
            self.is_short.store(true, Ordering::Release);
            (ticket, granted)
        };
        let _waiting = InLine { budget: self, ticket };
        // There may be room for this opening that the others in the queue may not use.
        self.grant();
        if self.is_short() {
            self.ask_for_reclaim();
        }
        let deadline = Instant::now() + patience;
        let mut granted = granted;
        loop {
            let next_look = deadline.min(Instant::now() + CLOSES_WITHIN);
            match tokio::time::timeout_at(next_look, &mut granted).await {
                Ok(granted) => return granted.map_err(|_| NoBudget::Withdrawn),
                Err(_) if next_look >= deadline => return Err(NoBudget::NoneCameFree),
                // The expected permits have not come back.
                Err(_) => self.ask_for_reclaim(),
            }
        }
    }

    /// Removes the openings of a pool beyond `needed`: their callers got a connection otherwise, or
    /// have gone. The openings that came last leave the queue. `urgent`, the counter that the
    /// openings queue with, identifies the pool.
    pub fn withdraw(&self, urgent: &Arc<AtomicUsize>, needed: usize) {
        let mut withdrawn = Vec::new();
        let mut state = self.state.lock();
        let is_of_pool = |waiter: &Waiter| Arc::ptr_eq(&waiter.urgent, urgent);
        while state.waiting.iter().filter(|waiter| is_of_pool(waiter)).count() > needed {
            let of_pool = (0..state.waiting.len()).filter(|at| is_of_pool(&state.waiting[*at]));
            let Some(last) = of_pool.max_by_key(|at| state.waiting[*at].ticket) else { break };
            withdrawn.push(state.waiting.swap_remove(last));
        }
        self.is_short.store(!state.waiting.is_empty(), Ordering::Release);
        drop(state);
        // Dropping the waiters closes their channels, and so the openings learn of it.
        drop(withdrawn);
    }

    /// True while an opening waits for a permit.
    pub fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Acquire)
    }

    pub fn ask_for_reclaim(&self) {
        if let Some(reclaimer) = self.reclaimer.upgrade() {
            reclaimer.reclaim(self.server);
        }
    }

    /// How many more permits the waiting openings need than are about to come back.
    pub fn shortage(&self) -> usize {
        let mut state = self.state.lock();
        state.waiting.len().saturating_sub(state.coming())
    }

    /// True if a connection that `tenant` does not use may be closed for a waiting opening.
    pub fn may_take_from(&self, tenant: TenantId) -> bool {
        self.state.lock().poorer_than(tenant) > 0
    }

    /// Records that this many connections are being closed for waiting openings.
    pub fn expect(&self, places: u32) {
        let now = Instant::now();
        self.state.lock().coming.extend((0..places).map(|_| now));
    }

    /// True if `tenant` should give up a connection that has just come back. Its permit is then
    /// counted as about to come back.
    pub fn is_wanted_back(&self, tenant: TenantId) -> bool {
        if !self.is_short() {
            return false;
        }
        let mut state = self.state.lock();
        let poorer = state.poorer_than(tenant);
        let wanted = poorer > state.coming();
        if wanted {
            state.coming.push_back(Instant::now());
        }
        wanted
    }

    /// Gives permits to waiting openings. Called when a permit came free or a caller became urgent.
    pub fn grant(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            let Some(next) = state.next() else {
                self.is_short.store(!state.waiting.is_empty(), Ordering::Release);
                return;
            };
            let waiter = state.waiting.swap_remove(next);
            state.take(waiter.tenant);
            self.is_short.store(!state.waiting.is_empty(), Ordering::Release);
            drop(state);
            // If the opening has gone, the permit is dropped and comes back at once.
            let _ = waiter.grant.send(BudgetPermit { budget: self.clone(), tenant: waiter.tenant });
        }
    }
}

/// Removes an opening from the queue when it is dropped.
struct InLine<'a> {
    budget: &'a Arc<Budget>,
    ticket: u64,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        state.waiting.retain(|waiter| waiter.ticket != self.ticket);
        if state.waiting.is_empty() {
            state.coming.clear();
            self.budget.is_short.store(false, Ordering::Release);
        }
    }
}

/// The permit of one connection. It comes back when it is dropped.
pub(super) struct BudgetPermit {
    budget: Arc<Budget>,
    tenant: TenantId,
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        self.budget.state.lock().give_back(self.tenant);
        self.budget.grant();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use uuid::Uuid;

    struct Nobody;
    impl Reclaim for Nobody {
        fn reclaim(&self, _: ServerId) {}
    }

    const PATIENT: Duration = Duration::from_secs(60);

    fn budget(limit: u32) -> Arc<Budget> {
        let nobody: Weak<Nobody> = Weak::new();
        Arc::new(Budget::new(ServerId(Uuid::nil()), limit, nobody))
    }

    fn calm() -> Arc<AtomicUsize> {
        Arc::default()
    }

    /// An opening that waits in the queue.
    type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<BudgetPermit, NoBudget>>>>;

    fn wait(budget: &Arc<Budget>, tenant: u128, urgent: Arc<AtomicUsize>) -> Waiting {
        let budget = budget.clone();
        let mut waiting: Waiting = Box::pin(async move {
            budget.acquire(TenantId(Uuid::from_u128(tenant)), urgent, PATIENT).await
        });
        assert!(waiting.as_mut().now_or_never().is_none(), "there was room");
        waiting
    }

    fn served(waiting: &mut Waiting) -> Option<BudgetPermit> {
        waiting.as_mut().now_or_never().and_then(Result::ok)
    }

    async fn take(budget: &Arc<Budget>, tenant: u128) -> BudgetPermit {
        budget.acquire(TenantId(Uuid::from_u128(tenant)), calm(), PATIENT).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_place_goes_to_the_tenant_with_the_fewest() {
        let budget = budget(3);
        let (first, _second, _of_b) =
            (take(&budget, 1).await, take(&budget, 1).await, take(&budget, 2).await);
        let (mut rich, mut middle, mut poor) =
            (wait(&budget, 1, calm()), wait(&budget, 2, calm()), wait(&budget, 3, calm()));
        drop(first);
        assert!(rich.as_mut().now_or_never().is_none());
        assert!(middle.as_mut().now_or_never().is_none());
        let place = served(&mut poor).expect("the poorest was not served");
        assert_eq!(budget.usage(), BudgetUse { limit: 3, used: 3, waiting: 2 });
        drop(place);
        // Both have one permit now; tenant 1 came first.
        assert!(served(&mut rich).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_returning_connection_is_given_up_for_the_poorer_only_and_only_once() {
        let budget = budget(4);
        let mut held = Vec::new();
        for tenant in [1, 1, 1, 2] {
            held.push(take(&budget, tenant).await);
        }
        let (one, two) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        assert!(!budget.is_wanted_back(one), "nobody waits");
        let _third = wait(&budget, 3, calm());
        assert!(budget.is_wanted_back(one));
        assert!(!budget.is_wanted_back(two), "one place for one who waits is coming already");
        let _second = wait(&budget, 2, calm());
        assert!(!budget.is_wanted_back(two), "for itself");
        assert!(budget.is_wanted_back(one), "three against one");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_taken_from_the_poor_for_the_rich() {
        let budget = budget(4);
        let _held = (
            take(&budget, 1).await,
            take(&budget, 1).await,
            take(&budget, 1).await,
            take(&budget, 2).await,
        );
        let _rich = wait(&budget, 1, calm());
        assert!(!budget.may_take_from(TenantId(Uuid::from_u128(2))));
        let _poor = wait(&budget, 3, calm());
        assert!(budget.may_take_from(TenantId(Uuid::from_u128(2))));
        assert!(budget.may_take_from(TenantId(Uuid::from_u128(1))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_was_promised_and_does_not_come_is_asked_of_another() {
        let budget = budget(2);
        let _held = (take(&budget, 1).await, take(&budget, 1).await);
        let _waiting = wait(&budget, 2, calm());
        assert_eq!(budget.shortage(), 1);
        budget.expect(1);
        assert_eq!(budget.shortage(), 0);
        assert!(!budget.is_wanted_back(TenantId(Uuid::from_u128(1))));
        tokio::time::advance(CLOSES_WITHIN * 2).await;
        assert_eq!(budget.shortage(), 1);
        assert!(budget.is_wanted_back(TenantId(Uuid::from_u128(1))));
    }

    #[tokio::test(start_paused = true)]
    async fn the_reserve_is_for_the_urgent() {
        let budget = budget(20);
        let mut held = Vec::new();
        for tenant in 0..18 {
            held.push(take(&budget, tenant).await);
        }
        let _calm = wait(&budget, 100, calm());
        let urgent = Arc::new(AtomicUsize::new(1));
        let place = budget.acquire(TenantId(Uuid::from_u128(101)), urgent, PATIENT).now_or_never();
        assert!(place.is_some_and(|place| place.is_ok()));
        let becomes_urgent = calm();
        let mut waiting = wait(&budget, 102, becomes_urgent.clone());
        becomes_urgent.store(1, Ordering::Release);
        budget.grant();
        assert!(served(&mut waiting).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_the_line_leaves_nothing_behind() {
        let budget = budget(1);
        let held = take(&budget, 1).await;
        let refused =
            budget.acquire(TenantId(Uuid::from_u128(2)), calm(), Duration::from_secs(3)).await;
        assert_eq!(refused.err(), Some(NoBudget::NoneCameFree));
        let gone = wait(&budget, 2, calm());
        drop(gone);
        let granted_too_late = wait(&budget, 3, calm());
        drop(held);
        drop(granted_too_late);
        assert_eq!(budget.usage(), BudgetUse { limit: 1, used: 0, waiting: 0 });
        assert!(!budget.is_short());
        drop(take(&budget, 1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn openings_that_nobody_needs_leave_the_line_the_last_first() {
        let budget = budget(1);
        let held = take(&budget, 1).await;
        let (of_pool, of_other) = (calm(), calm());
        let (mut first, mut last) =
            (wait(&budget, 2, of_pool.clone()), wait(&budget, 2, of_pool.clone()));
        let mut other = wait(&budget, 3, of_other.clone());
        budget.withdraw(&of_pool, 1);
        assert_eq!(last.as_mut().now_or_never().map(Result::err), Some(Some(NoBudget::Withdrawn)));
        assert_eq!(budget.usage().waiting, 2);
        drop(held);
        drop(served(&mut first).expect("the first was withdrawn too"));
        budget.withdraw(&of_other, 0);
        assert!(served(&mut other).is_some(), "withdrawn after it was served");
    }

    #[tokio::test(start_paused = true)]
    async fn a_smaller_limit_holds_from_then_on() {
        let budget = budget(3);
        let held = (take(&budget, 1).await, take(&budget, 2).await, take(&budget, 3).await);
        budget.set_limit(1);
        let mut waiting = wait(&budget, 4, calm());
        drop((held.0, held.1));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held.2);
        assert!(served(&mut waiting).is_some());
    }
}
