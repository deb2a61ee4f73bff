//! One worker at a time: whoever has lost a run can do nothing more with it, and whoever does not know or cannot read it
//! leaves it to others.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use narthex::postgres::administration::Administration;
use narthex::provisioning::{FailpointAction, FailpointPosition, Failpoints, Planned};
use narthex::registry::runs::provisioning_runs::{RunStatus, StepStatus};
use rstest::rstest;
use sea_orm::{ConnectionTrait, TransactionSession, TransactionTrait};

use super::{at_once, new_tenant, on_server, run, things};
use crate::support::{TestApp, TestSettings, eventually, played};

/// What there is of any tenant: rows of the registry, databases and roles of the server.
const COUNT: &str = "SELECT (SELECT count(*) FROM tenants) + (SELECT count(*) FROM email_index)
    + (SELECT count(*) FROM tenants t JOIN pg_database d ON d.datname = t.database_name)
    + (SELECT count(*) FROM tenants t JOIN pg_roles r ON r.rolname = t.role_name)";
/// Somebody else takes the run over while its worker goes on, and lets go of it a second later without having done
/// anything.
const TAKE_OVER: &str = "UPDATE provisioning_runs SET fence = fence + 1, lease_owner = 'another',
    lease_until = clock_timestamp() + interval '1 second' WHERE status = 'running'";

#[rstest]
#[tokio::test]
async fn whoever_has_lost_a_run_records_nothing_of_it(
    #[values(FailpointPosition::BeforeEffect, FailpointPosition::AfterEffect)]
    moment: FailpointPosition,
) {
    for step in played(&["reserve", "role", "database", "schema", "owner", "activate"]) {
        lose(step, moment).await;
    }
}

async fn lose(step: &'static str, moment: FailpointPosition) {
    let url: Arc<OnceLock<String>> = Arc::default();
    let (taken, before, after) =
        (AtomicUsize::new(0), Arc::new(AtomicI64::new(-1)), Arc::new(AtomicI64::new(-2)));
    let (registry, first, second) = (url.clone(), before.clone(), after.clone());
    let take_over: Failpoints = Arc::new(move |at, when| {
        if at == step && when == moment && taken.fetch_add(1, Ordering::SeqCst) == 0 {
            let found = at_once(registry.get().unwrap(), &[TAKE_OVER, COUNT]);
            first.store(found, Ordering::SeqCst);
        } else if at == step && when == FailpointPosition::BeforeEffect {
            second.store(at_once(registry.get().unwrap(), &[COUNT]), Ordering::SeqCst);
        }
        None::<FailpointAction>
    });
    // The heartbeat comes too late to stop it.
    let settings: TestSettings =
        Box::new(|settings| settings.provisioning.lease = Duration::from_secs(30));
    let app = TestApp::interrupted(take_over, settings).await;
    url.set(app.cluster.url(&app.registry_database)).unwrap();
    let (outcome, run, steps) = run(&app.provisioner, &new_tenant()).await;
    let made = outcome.unwrap();
    assert_eq!(run.status, RunStatus::Completed);
    let taken_over = steps.iter().find(|found| found.name == step).unwrap();
    assert_eq!((taken_over.status, taken_over.attempts), (StepStatus::Completed, 2));
    let attempts = format!(
        "SELECT count(*) FROM provisioning_events WHERE step = '{step}' AND attempt = 1 AND event <> 'step_begun'"
    );
    assert_eq!(app.registry_count(&attempts).await, 0, "the first one has recorded something");
    // Before its first act on registry or server, a worker asks whether the run is still its own.
    if moment == FailpointPosition::AfterEffect || matches!(step, "reserve" | "role" | "database") {
        assert_eq!(before.load(Ordering::SeqCst), after.load(Ordering::SeqCst));
    }
    assert_eq!((on_server(&app, made.tenant_id).await, things(&app).await), (2, 4));
}

/// It is undone, whatever it is in the step that kills every process.
#[tokio::test]
async fn a_step_in_which_every_process_dies_is_given_up() {
    let kills: Failpoints = Arc::new(|at, when| {
        ((at, when) == ("database", FailpointPosition::AfterEffect))
            .then_some(FailpointAction::Dies)
    });
    let settings: TestSettings = Box::new(|settings| {
        settings.provisioning.lease = Duration::from_millis(300);
        settings.provisioning.max_attempts = 3;
    });
    let app = TestApp::interrupted(kills, settings).await;
    let (outcome, run, steps) = run(&app.provisioner, &new_tenant()).await;
    let failure = outcome.unwrap_err().to_string();
    assert!(failure.contains("none of 3 attempts came to an end"), "{failure}");
    assert_eq!((run.status, steps[2].attempts), (RunStatus::Failed, 3));
    assert_eq!(things(&app).await, 0);
}

/// A run that waits, once it comes to the server, for what another process does there for its tenant.
async fn held_back(app: &TestApp) -> (Planned, Administration) {
    let db = app.registry.connect().await.unwrap();
    let transaction = db.begin().await.unwrap();
    let planned = app.provisioner.plan(&transaction, &new_tenant()).await.unwrap();
    let mut last_act = app.registry.server().administer().await.unwrap();
    last_act.lock_for(planned.tenant_id.0).await.unwrap();
    transaction.commit().await.unwrap();
    (planned, last_act)
}

/// What a process that is gone has asked of a server may still go on there.
#[tokio::test]
async fn nobody_acts_on_a_server_before_what_another_began_for_the_tenant_is_over() {
    let app = TestApp::start().await;
    let (planned, last_act) = held_back(&app).await;
    let begun = "SELECT count(*) FROM provisioning_events WHERE step = 'role'";
    eventually("it has come to the server", async || app.registry_count(begun).await == 1).await;
    let (_, low) = planned.tenant_id.0.as_u64_pair();
    let waits = format!(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
         AND (classid::bigint << 32 | objid::bigint) = {}",
        i64::from_be_bytes(low.to_be_bytes())
    );
    eventually("it waits", async || app.cluster.count("postgres", &waits).await == 1).await;
    assert_eq!(on_server(&app, planned.tenant_id).await, 0);
    last_act.close().await;
    app.provisioner.finish(planned).await.unwrap();
    assert_eq!(on_server(&app, planned.tenant_id).await, 2);
}

/// Plans a tenant of which a later statement changes the run before anybody can take it up.
async fn planned_with(app: &TestApp, change: &str) -> Planned {
    let db = app.registry.connect().await.unwrap();
    let transaction = db.begin().await.unwrap();
    let planned = app.provisioner.plan(&transaction, &new_tenant()).await.unwrap();
    let change = format!("UPDATE provisioning_runs SET {change} WHERE id = '{}'", planned.run_id);
    transaction.execute_unprepared(&change).await.unwrap();
    transaction.commit().await.unwrap();
    planned
}

/// During an upgrade there are programs of two versions.
#[tokio::test]
async fn a_run_of_a_later_version_is_left_to_those_who_know_it() {
    let app = TestApp::start().await;
    let later = planned_with(&app, "version = 99").await;
    run(&app.provisioner, &new_tenant()).await.0.unwrap();
    assert_eq!(app.provisioner.work_due().await.unwrap(), 0);
    let untouched = format!(
        "SELECT count(*) FROM provisioning_runs WHERE id = '{}' AND status = 'pending' AND fence = 0",
        later.run_id
    );
    assert_eq!(app.registry_count(&untouched).await, 1);
    app.registry_execute("UPDATE provisioning_runs SET version = 1").await;
    app.provisioner.finish(later).await.unwrap();
}

/// A replica that lacks a master key must not end what others can finish; and an operator can.
#[rstest]
#[case::read_by_another(true)]
#[case::cancelled(false)]
#[tokio::test]
async fn a_run_that_cannot_be_read_waits(#[case] can_be_read: bool) {
    let app = TestApp::start().await;
    let backwards = "sealed_input = convert_to(encode(sealed_input, 'hex'), 'UTF8')";
    let planned = planned_with(&app, backwards).await;
    let reschedule = format!(
        "SELECT count(*) FROM provisioning_runs WHERE id = '{}' AND status = 'running'
         AND lease_owner IS NULL AND next_attempt_at > now()",
        planned.run_id
    );
    eventually("it is put off", async || app.registry_count(&reschedule).await == 1).await;
    let steps = "SELECT count(*) FROM provisioning_events WHERE event = 'step_begun'";
    assert_eq!((app.registry_count(steps).await, things(&app).await), (0, 0));
    let again = match can_be_read {
        true => "sealed_input = decode(convert_from(sealed_input, 'UTF8'), 'hex')",
        false => "cancel_requested_at = now()",
    };
    app.registry_execute(&format!("UPDATE provisioning_runs SET {again}, next_attempt_at = now()"))
        .await;
    let outcome = app.provisioner.finish(planned).await;
    assert_eq!(outcome.is_ok(), can_be_read, "{outcome:?}");
    assert_eq!(things(&app).await, if can_be_read { 4 } else { 0 });
}

/// What an undo meets does not take its place; and it is tried until nothing is left.
#[tokio::test]
async fn the_first_reason_is_the_one_that_is_told() {
    let undone = AtomicUsize::new(0);
    let failpoints: Failpoints = Arc::new(move |at, when| match (at, when) {
        ("role", FailpointPosition::AfterEffect) => Some(FailpointAction::FailsForGood),
        ("role", FailpointPosition::BeforeUndo) if undone.fetch_add(1, Ordering::SeqCst) < 4 => {
            Some(FailpointAction::Fails)
        }
        _ => None,
    });
    let app = TestApp::interrupted(failpoints, Box::new(|_| {})).await;
    let (outcome, run, steps) = run(&app.provisioner, &new_tenant()).await;
    let failure = outcome.unwrap_err().to_string();
    assert_eq!(failure, "the step `role` failed: interrupted AfterEffect");
    assert_eq!(steps[1].undo_error.as_deref(), Some("interrupted BeforeUndo"));
    let on_server = on_server(&app, run.tenant_id).await;
    assert_eq!((things(&app).await, on_server, steps[1].undo_attempts), (0, 0, 5));
}

/// An attempt may take longer than a lease.
#[tokio::test]
async fn a_worker_that_gives_signs_of_life_keeps_its_run() {
    let settings: TestSettings =
        Box::new(|settings| settings.provisioning.lease = Duration::from_millis(600));
    let app = TestApp::start_with(settings).await;
    let (planned, last_act) = held_back(&app).await;
    let since =
        "SELECT count(*) FROM provisioning_runs r JOIN provisioning_steps s ON s.run_id = r.id
        WHERE s.name = 'role' AND r.lease_until > s.started_at + interval '3 seconds'";
    eventually("it has been held for long", async || app.registry_count(since).await == 1).await;
    last_act.close().await;
    app.provisioner.finish(planned).await.unwrap();
    let claims = "SELECT count(*) FROM provisioning_events WHERE event = 'claimed'";
    assert_eq!(app.registry_count(claims).await, 1);
}

/// Whatever a run says: what somebody may be using is not undone.
#[rstest]
#[case("active")]
#[case("suspended")]
#[case("deleted")]
#[tokio::test]
async fn a_tenant_that_is_whole_is_never_undone(#[case] status: &str) {
    let app = TestApp::start().await;
    let made = run(&app.provisioner, &new_tenant()).await.0.unwrap();
    app.registry_execute(&format!(
        "UPDATE tenants SET status = '{status}';
         UPDATE provisioning_steps SET status = 'failed';
         UPDATE provisioning_runs SET status = 'compensating', finished_at = NULL, next_attempt_at = now()"
    ))
    .await;
    let refused = "SELECT count(*) FROM provisioning_events
        WHERE event = 'undo_failed' AND step = 'database' AND detail LIKE '%nothing of it is undone'";
    eventually("it is refused", async || app.registry_count(refused).await > 1).await;
    let app_things = (on_server(&app, made.tenant_id).await, things(&app).await);
    assert_eq!(app_things, (2, 4));
}
