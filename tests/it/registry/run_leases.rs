//! What is recorded of a run, and when it is due again.

use std::time::Duration;

use narthex::registry::runs::provisioning_runs::{self, NewRun, RunKind, RunStatus};
use narthex::registry::runs::run_leases::{self, ClaimFilter, LeaseLost, Progress};
use rstest::rstest;

use crate::support::TestApp;
use narthex::identifiers::{RunId, TenantId, unguessable_id};

const LEASE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Somebody cancels a run while an attempt goes on: it is undone when that attempt has failed, not after the wait for
/// the next. What is being undone already keeps its waits.
#[rstest]
#[case::going_forward(RunStatus::Running, true, true)]
#[case::going_back(RunStatus::Compensating, true, false)]
#[case::not_cancelled(RunStatus::Running, false, false)]
#[tokio::test]
async fn a_cancelled_run_is_due_at_once(
    #[case] status: RunStatus,
    #[case] is_cancelled: bool,
    #[case] is_due: bool,
) {
    let app = TestApp::start().await;
    let db = app.registry.connect().await.unwrap();
    let (id, now) = (RunId(unguessable_id()), app.clock.now());
    // Of a version that nobody else takes up.
    let version = 99;
    let new = NewRun {
        id,
        kind: RunKind::CreateTenant,
        version,
        tenant: TenantId::generate(),
        sealed_input: None,
        steps: &[],
    };
    provisioning_runs::create(&db, new, "test", now).await.unwrap().unwrap();
    let due = ClaimFilter { run: Some(id), known: &[(RunKind::CreateTenant, version)] };
    let (claim, _) = run_leases::claim(&db, "one", LEASE, due).await.unwrap().unwrap();
    assert!(run_leases::claim(&db, "two", LEASE, due).await.unwrap().is_none(), "it is taken");
    if is_cancelled {
        provisioning_runs::cancel(&db, id, "test", now).await.unwrap().unwrap();
    }
    let failed = Progress { reschedule: Some(HOUR), status: Some(status), ..Progress::default() };
    let told = run_leases::advance(&db, &claim, failed, now).await.unwrap();
    assert_eq!(told, Ok(is_cancelled));
    let again = run_leases::claim(&db, "two", LEASE, due).await.unwrap();
    assert_eq!(again.is_some(), is_due);
    // The first one has let go of it.
    assert_eq!(run_leases::renew(&db, &claim).await.unwrap(), Err(LeaseLost));
    let more = run_leases::advance(&db, &claim, Progress::default(), now).await.unwrap();
    assert_eq!(more, Err(LeaseLost));
}
