//! What fails is left alone for a while; whoever else there is does not notice.

use std::time::Duration;

use futures_util::future::join_all;
use narthex::tenant_router::{BreakerState, PoolEvent, Refusal};
use reqwest::Method;

use super::{Hall, connect, count, failure_of, visit, visit_eventually};
use crate::support::TestApp;

#[tokio::test]
async fn a_failing_tenant_is_left_alone_and_the_others_do_not_notice() {
    let hall = Hall::with(2).await;
    let router = hall.router(|_| {});
    let [failing, other] = hall.ids[..] else { unreachable!() };
    hall.allow_connections(failing, false).await;
    for _ in 0..20 {
        let refused = join_all((0..10).map(|_| connect(&router, failing))).await;
        refused.into_iter().for_each(|outcome| drop(failure_of(outcome)));
        visit(&router, other).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let statistics = router.statistics();
    let (failed, refused) =
        (statistics.count(PoolEvent::OpenFailed), statistics.refused(Refusal::BackingOff));
    assert!(refused >= 100, "{refused} requests were turned away without an attempt");
    assert!(failed < 100, "{failed} pools were tried");
    let trouble = router.failure_of(failing).expect("the trouble outlives the pool");
    assert_ne!(trouble.state, BreakerState::Closed);
    assert_eq!(router.pool_of(failing), None);
    assert_eq!(router.failure_of(other), None);

    hall.allow_connections(failing, true).await;
    visit_eventually(&router, failing).await;
    assert_eq!(router.failure_of(failing), None);
    assert_eq!(count(&router, PoolEvent::Opened), 2);
}

#[tokio::test]
async fn a_client_is_told_when_to_come_back() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.router.close();
    let name = staff.database();
    let close = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
    app.cluster.execute("postgres", &close).await;
    for _ in 0..3 {
        let answer = staff.call(Method::GET, "/v1/members", None).await;
        answer.expect_problem(503, "tenant_database_unavailable");
        let seconds: u32 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=5).contains(&seconds), "{seconds}");
    }
    assert!(app.router.statistics().refused(Refusal::BackingOff) >= 1);
}
