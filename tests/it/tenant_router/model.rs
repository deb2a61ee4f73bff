//! The router against a model of it: random acts on a few tenants, some of them side by side, and after each the
//! question whether all promises hold. `MODEL_CASES` sets how many stories are played.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use narthex::identifiers::TenantId;
use narthex::postgres::ConnectFailure;
use narthex::tenant_router::{RouterError, TenantDb, TenantRouter};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sea_orm::ConnectionTrait;

use super::{Hall, ask, connect, visit_eventually};
use crate::support::eventually;

const TENANTS: usize = 5;
const CAP: usize = 3;
const BUDGET: u32 = 4;
const PER_TENANT: u32 = 2;
const STORIES: u32 = 6;

#[derive(Clone, Debug)]
enum AuditEvent {
    /// So many requests of a tenant at once.
    Acquire(usize, usize),
    /// The lease at this place of the list (round and round) is given back.
    Release(usize),
    /// A statement on that lease is abandoned in the middle.
    Cancel(usize),
    /// A request that gives up before it is served.
    GiveUp(usize),
    /// An operator locks the tenant.
    Suspend(usize),
    /// And unlocks it.
    Resume(usize),
    /// Its database ends its sessions and takes no new one.
    Fail(usize),
    /// And takes them again.
    Recover(usize),
    /// Idle pools are retired, as the reaper would.
    Rest,
}

fn acts() -> impl Strategy<Value = Vec<AuditEvent>> {
    let tenant = 0..TENANTS;
    let lease = 0..16_usize;
    let event = prop_oneof![
        8 => (tenant.clone(), 1..3_usize).prop_map(|(t, n)| AuditEvent::Acquire(t, n)),
        5 => lease.clone().prop_map(AuditEvent::Release),
        3 => lease.prop_map(AuditEvent::Cancel),
        2 => tenant.clone().prop_map(AuditEvent::GiveUp),
        1 => tenant.clone().prop_map(AuditEvent::Suspend),
        2 => tenant.clone().prop_map(AuditEvent::Resume),
        1 => tenant.clone().prop_map(AuditEvent::Fail),
        2 => tenant.prop_map(AuditEvent::Recover),
        1 => Just(AuditEvent::Rest),
    ];
    prop::collection::vec(event, 10..30)
}

/// What must be true, kept beside the router.
#[derive(Default)]
struct Model {
    leases: Vec<(usize, TenantDb)>,
    suspended: [bool; TENANTS],
    failing: [bool; TENANTS],
}

impl Model {
    fn leases_of(&self, tenant: usize) -> usize {
        self.leases.iter().filter(|(of, _)| *of == tenant).count()
    }

    /// Must this many requests of a tenant succeed, whatever else has happened before?
    fn has_room_for(&self, tenant: usize, requests: usize) -> bool {
        let others = (0..TENANTS).filter(|t| *t != tenant && self.leases_of(*t) > 0).count();
        others < CAP
            && self.leases_of(tenant) + requests <= PER_TENANT as usize
            && self.leases.len() + requests <= BUDGET as usize
    }
}

struct Story<'a> {
    hall: &'a Hall,
    router: TenantRouter,
    model: Model,
}

impl Story<'_> {
    fn id(&self, tenant: usize) -> TenantId {
        self.hall.ids[tenant]
    }

    async fn event(&mut self, event: &AuditEvent) {
        match *event {
            AuditEvent::Acquire(tenant, requests) => self.acquire(tenant, requests).await,
            AuditEvent::Release(at) => drop(self.take(at)),
            AuditEvent::Cancel(at) => {
                if let Some((_, db)) = self.take(at) {
                    let mut statement = Box::pin(db.execute_unprepared("SELECT pg_sleep(0.3)"));
                    let _ = tokio::time::timeout(Duration::from_millis(2), &mut statement).await;
                }
            }
            AuditEvent::GiveUp(tenant) => {
                let mut request = Box::pin(connect(&self.router, self.id(tenant)));
                let _ = request.as_mut().now_or_never();
            }
            AuditEvent::Suspend(tenant) => self.suspend(tenant, true).await,
            AuditEvent::Resume(tenant) => self.suspend(tenant, false).await,
            AuditEvent::Fail(tenant) => {
                // Its leases break; what is left of them is of no more use to the story.
                self.model.leases.retain(|(of, _)| *of != tenant);
                self.model.failing[tenant] = true;
                self.hall.allow_connections(self.id(tenant), false).await;
            }
            AuditEvent::Recover(tenant) => self.recover(tenant).await,
            AuditEvent::Rest => tokio::time::sleep(Duration::from_millis(120)).await,
        }
    }

    fn take(&mut self, at: usize) -> Option<(usize, TenantDb)> {
        let leases = &mut self.model.leases;
        (!leases.is_empty()).then(|| leases.swap_remove(at % leases.len()))
    }

    async fn acquire(&mut self, tenant: usize, requests: usize) {
        let must_succeed = self.model.has_room_for(tenant, requests);
        let id = self.id(tenant);
        let outcomes = join_all((0..requests).map(|_| connect(&self.router, id))).await;
        for outcome in outcomes {
            let (suspended, failing) = (self.model.suspended[tenant], self.model.failing[tenant]);
            match outcome {
                Ok(db) => {
                    assert!(!suspended, "a suspended tenant was served");
                    // A socket that died a moment ago may be lent once more; it answers nobody.
                    if !failing {
                        assert_eq!(ask(&db).await.0, id, "led to another tenant");
                        self.model.leases.push((tenant, db));
                    }
                }
                Err(RouterError::Suspended) => assert!(suspended, "refused as suspended"),
                Err(RouterError::Unavailable(failure)) => {
                    // The end of a back-off, or of a session, can reach beyond the recovery.
                    let late = matches!(failure, ConnectFailure::BackingOff { .. });
                    assert!(failing || late, "{failure:?}");
                }
                Err(refused @ (RouterError::Saturated | RouterError::PoolBusy)) => {
                    assert!(!must_succeed || failing, "{refused} although there is room");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    async fn suspend(&mut self, tenant: usize, suspended: bool) {
        let status = if suspended { "suspended" } else { "active" };
        self.hall.change_row(self.id(tenant), &format!("status = '{status}'")).await;
        self.model.suspended[tenant] = suspended;
        eventually("the change is known", async || {
            let found = super::tenant(&self.router, self.id(tenant)).await.status;
            serde_json::to_value(found).unwrap() == status
        })
        .await;
    }

    async fn recover(&mut self, tenant: usize) {
        self.hall.allow_connections(self.id(tenant), true).await;
        if std::mem::take(&mut self.model.failing[tenant]) && !self.model.suspended[tenant] {
            // Until its back-off is over; there may be no room for it now, which is no failure.
            eventually("the tenant is no longer left alone", async || {
                !matches!(
                    connect(&self.router, self.id(tenant)).await,
                    Err(RouterError::Unavailable(_))
                )
            })
            .await;
        }
    }

    /// What holds at every moment.
    async fn check(&self) {
        let statistics = self.router.statistics();
        assert!(statistics.open <= CAP, "{} pools are open", statistics.open);
        for server in &statistics.servers {
            assert!(server.budget.used <= BUDGET, "{} places are taken", server.budget.used);
        }
        for (tenant, db) in &self.model.leases {
            assert_eq!(ask(db).await.0, self.id(*tenant), "a lease on a closed or foreign pool");
        }
    }

    async fn end(mut self) {
        self.model.leases.clear();
        for tenant in 0..TENANTS {
            self.suspend(tenant, false).await;
            self.recover(tenant).await;
            visit_eventually(&self.router, self.id(tenant)).await;
        }
        self.router.close();
        eventually("nothing is left", async || {
            let statistics = self.router.statistics();
            let used: u32 = statistics.servers.iter().map(|server| server.budget.used).sum();
            let waiting: usize = statistics.servers.iter().map(|s| s.budget.waiting).sum();
            (statistics.open, statistics.leases, statistics.retiring, used, waiting)
                == (0, 0, 0, 0, 0)
        })
        .await;
        for id in &self.hall.ids {
            self.hall.no_connections_of(*id).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_every_promise_holds() {
    let hall = Hall::with(TENANTS).await;
    let stories = std::env::var("MODEL_CASES").ok().and_then(|cases| cases.parse().ok());
    let mut runner = TestRunner::new(Config::default());
    for number in 0..stories.unwrap_or(STORIES) {
        let acts = acts().new_tree(&mut runner).unwrap().current();
        let mut story = Story {
            hall: &hall,
            router: hall.router(|settings| {
                settings.max_open_tenants = CAP;
                settings.max_connections_per_server = Some(BUDGET);
                settings.max_connections_per_tenant = PER_TENANT;
                settings.acquire_timeout = Duration::from_secs(1);
                settings.idle_timeout = Duration::from_millis(100);
            }),
            model: Model::default(),
        };
        let told = format!("{acts:?}");
        let played = async {
            for event in &acts {
                story.event(event).await;
                story.check().await;
            }
            story.end().await;
        };
        // The story is what one has to know of a failure.
        if let Err(panic) = std::panic::AssertUnwindSafe(played).catch_unwind().await {
            eprintln!("story {number} failed: {told}");
            std::panic::resume_unwind(panic);
        }
    }
}
