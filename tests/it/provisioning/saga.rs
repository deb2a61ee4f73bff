//! The two universal tests, and the third: every step twice; a failure at every step; a death at every step.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use narthex::provisioning::{FailpointAction, FailpointPosition, Failpoints, RunFailure};
use narthex::registry::runs::provisioning_runs::{self, RunStatus, StepStatus};
use rstest::rstest;
use serde_json::json;

use super::service::Service;
use super::{at_once, new_tenant, on_server, run, things};
use crate::support::{TestApp, TestSettings, played};

/// Every step that makes a tenant, those of the operator's services included.
const STEPS: [&str; 12] = [
    "reserve",
    "role",
    "database",
    "schema",
    "preseed",
    "owner",
    "identity_realm",
    "storage",
    "infrastructure",
    "deployment",
    "dns",
    "activate",
];
/// Row of the tenant and of its owner's address; role, database and five services' things.
const WHOLE: i64 = 2 + 7;

fn with(service: &Service) -> TestSettings {
    let hooks = service.makes_everything();
    Box::new(move |settings| {
        settings.provisioning.hooks = hooks;
        settings.provisioning.lease = Duration::from_millis(600);
    })
}

/// Does something to a step at a moment, so many times.
fn times(
    most: usize,
    step: &'static str,
    moment: FailpointPosition,
    fault: FailpointAction,
) -> Failpoints {
    let count = AtomicUsize::new(0);
    Arc::new(move |at, when| {
        ((at, when) == (step, moment) && count.fetch_add(1, Ordering::SeqCst) < most)
            .then_some(fault)
    })
}

#[rstest]
#[tokio::test]
async fn a_step_that_is_done_twice_changes_nothing_more(
    #[values(FailpointPosition::BeforeEffect, FailpointPosition::AfterEffect)]
    moment: FailpointPosition,
) {
    for step in played(&STEPS) {
        do_twice(step, moment).await;
    }
}

async fn do_twice(step: &'static str, moment: FailpointPosition) {
    let service = Service::start().await;
    let app =
        TestApp::interrupted(times(1, step, moment, FailpointAction::Fails), with(&service)).await;
    let (outcome, run_row, steps) = run(&app.provisioner, &new_tenant()).await;
    let made = outcome.unwrap();
    assert_eq!((run_row.status, run_row.error_code), (RunStatus::Completed, None));
    assert_eq!(run_row.sealed_input, None);
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, STEPS);
    for found in steps {
        assert_eq!(found.status, StepStatus::Completed, "{}", found.name);
        assert_eq!(found.attempts, if found.name == step { 2 } else { 1 }, "{}", found.name);
    }
    assert_eq!((on_server(&app, made.tenant_id).await, things(&app).await), (2, WHOLE));
    assert_eq!(service.things(), 5);
    let database = made.tenant_id.database_name();
    assert_eq!(app.cluster.count(&database, "SELECT count(*) FROM staff").await, 1);
    assert_eq!(app.cluster.count(&database, "SELECT count(*) FROM tenant_identity").await, 1);
    app.tenant_db(made.tenant_id).await;
    // However often it is asked for, it is the same request.
    assert_eq!(service.ids().iter().collect::<BTreeSet<_>>().len(), 5);
}

#[rstest]
#[case::before_its_effect(FailpointPosition::BeforeEffect, false)]
#[case::after_its_effect_and_undone_twice(FailpointPosition::AfterEffect, true)]
#[tokio::test]
async fn a_step_that_fails_for_good_leaves_nothing_behind(
    #[case] moment: FailpointPosition,
    #[case] undone_twice: bool,
) {
    for step in played(&STEPS) {
        fail_for_good(step, moment, undone_twice).await;
    }
}

async fn fail_for_good(step: &'static str, moment: FailpointPosition, undone_twice: bool) {
    let service = Service::start().await;
    let fault = times(1, step, moment, FailpointAction::FailsForGood);
    let undoing = AtomicUsize::new(0);
    let failpoints: Failpoints = Arc::new(move |at, when| match when {
        // Every undo loses its answer once.
        FailpointPosition::AfterUndo if undone_twice => {
            (undoing.fetch_add(1, Ordering::SeqCst).is_multiple_of(2))
                .then_some(FailpointAction::Fails)
        }
        _ => fault(at, when),
    });
    let app = TestApp::interrupted(failpoints, with(&service)).await;
    let new = new_tenant();
    let (outcome, run_row, steps) = run(&app.provisioner, &new).await;
    let broken = outcome.unwrap_err();
    assert!(
        matches!(&broken, RunFailure::Broken { step: at, reason } if at == step && reason.contains("interrupted")),
        "{broken:?}"
    );
    assert_eq!((run_row.status, run_row.sealed_input), (RunStatus::Failed, None));
    assert_eq!(run_row.error_code.as_deref(), Some("provisioning_failed"));
    assert!(run_row.finished_at.is_some() && run_row.lease_owner.is_none());
    let position = STEPS.iter().position(|name| *name == step).unwrap();
    for (i, found) in steps.iter().enumerate() {
        let expected = if i <= position { StepStatus::Compensated } else { StepStatus::Pending };
        let undone = if i > position { 0 } else { 1 + i32::from(undone_twice) };
        assert_eq!((found.status, found.undo_attempts), (expected, undone), "{}", found.name);
    }
    let tenant = run_row.tenant_id;
    assert_eq!((on_server(&app, tenant).await, things(&app).await), (0, 0));
    assert_eq!(service.things(), 0, "{:?}", service.calls());

    let (outcome, run_row, _) = run(&app.provisioner, &new).await;
    let made = outcome.unwrap();
    assert_eq!(run_row.status, RunStatus::Completed);
    assert_eq!((on_server(&app, made.tenant_id).await, things(&app).await), (2, WHOLE));
}

/// The process dies at every step, before and after its effect; another one finishes what it has begun.
#[rstest]
#[tokio::test]
async fn a_run_whose_process_dies_is_finished_by_another(
    #[values(FailpointPosition::BeforeEffect, FailpointPosition::AfterEffect)]
    moment: FailpointPosition,
) {
    for step in played(&["reserve", "role", "database", "schema", "owner", "storage", "activate"]) {
        die(step, moment).await;
    }
}

async fn die(step: &'static str, moment: FailpointPosition) {
    let service = Service::start().await;
    let app =
        TestApp::interrupted(times(2, step, moment, FailpointAction::Dies), with(&service)).await;
    let (outcome, run_row, _) = run(&app.provisioner, &new_tenant()).await;
    let made = outcome.unwrap();
    assert_eq!((on_server(&app, made.tenant_id).await, things(&app).await), (2, WHOLE));
    assert_eq!(run_row.fence, 3, "claimed once, and again after each death");
    let db = app.registry.connect().await.unwrap();
    let history = provisioning_runs::history(&db, run_row.id).await.unwrap();
    let claims = history.iter().filter(|line| line.event == "claimed").count();
    assert_eq!(claims, 3);
}

/// And it dies while it undoes what cannot be done.
#[rstest]
#[tokio::test]
async fn a_run_whose_process_dies_in_the_undoing_is_undone_by_another(
    #[values(FailpointPosition::BeforeUndo, FailpointPosition::AfterUndo)]
    moment: FailpointPosition,
) {
    for step in played(&["reserve", "role", "database", "storage", "activate"]) {
        die_in_the_undoing(step, moment).await;
    }
}

async fn die_in_the_undoing(step: &'static str, moment: FailpointPosition) {
    let service = Service::start().await;
    let dies = times(2, step, moment, FailpointAction::Dies);
    let failpoints: Failpoints = Arc::new(move |at, when| match (at, when) {
        ("activate", FailpointPosition::AfterEffect) => Some(FailpointAction::FailsForGood),
        _ => dies(at, when),
    });
    let app = TestApp::interrupted(failpoints, with(&service)).await;
    let (outcome, run_row, _) = run(&app.provisioner, &new_tenant()).await;
    // The first reason is the one that is told.
    assert!(matches!(outcome, Err(RunFailure::Broken { .. })), "{outcome:?}");
    let tenant = run_row.tenant_id;
    assert_eq!((on_server(&app, tenant).await, things(&app).await), (0, 0));
    assert_eq!((service.things(), run_row.fence), (0, 3));
}

#[tokio::test]
async fn attempts_have_an_end() {
    let fails: Failpoints = Arc::new(|at, when| {
        ((at, when) == ("role", FailpointPosition::BeforeEffect)).then_some(FailpointAction::Fails)
    });
    let few: TestSettings = Box::new(|settings| settings.provisioning.max_attempts = 3);
    let app = TestApp::interrupted(fails, few).await;
    let (outcome, _, steps) = run(&app.provisioner, &new_tenant()).await;
    assert!(matches!(outcome, Err(RunFailure::Broken { step, .. }) if step == "role"));
    assert_eq!((steps[1].attempts, things(&app).await), (3, 0));
}

#[tokio::test]
async fn a_registration_that_fails_can_be_read_and_names_nothing_internal() {
    let fails: Failpoints = Arc::new(|at, when| {
        (at == "owner" && when == FailpointPosition::AfterEffect)
            .then_some(FailpointAction::FailsForGood)
    });
    let app = TestApp::interrupted(fails, Box::new(|_| {})).await;
    let started = app.provisioner.start(&new_tenant(), None).await.unwrap();
    let id = started.planned.run_id;
    started.outcome().await.unwrap_err();
    let document =
        app.call(reqwest::Method::GET, &format!("/v1/registrations/{id}"), None).await.expect(200);
    assert_eq!((&document["status"], &document["tenant_id"]), (&json!("failed"), &json!(null)));
    assert_eq!(document["error"]["code"], "provisioning_failed");
    assert!(!document.to_string().contains("interrupted"), "{document}");
}

#[tokio::test]
async fn two_registrations_of_one_email_at_once_end_in_one_tenant() {
    let app = TestApp::start().await;
    let new = new_tenant();
    let (a, b) = tokio::join!(run(&app.provisioner, &new), run(&app.provisioner, &new));
    let refused = [&a, &b].into_iter().find(|(outcome, ..)| outcome.is_err()).unwrap();
    assert_eq!(refused.1.error_code.as_deref(), Some("email_taken"));
    assert_eq!(things(&app).await, 4);
    assert_eq!(on_server(&app, refused.1.tenant_id).await, 0);
}

/// A password of a role that nobody can open any more.
#[tokio::test]
async fn what_no_repetition_mends_is_tried_once() {
    const ALTER: &str = "UPDATE tenants SET sealed_password =
        set_byte(sealed_password, length(sealed_password) - 1, get_byte(sealed_password, length(sealed_password) - 1) # 1)";
    let url: Arc<OnceLock<String>> = Arc::default();
    let registry = url.clone();
    let alters: Failpoints = Arc::new(move |at, when| {
        if (at, when) == ("role", FailpointPosition::BeforeEffect) {
            at_once(registry.get().unwrap(), &[ALTER]);
        }
        None::<FailpointAction>
    });
    let app = TestApp::interrupted(alters, Box::new(|_| {})).await;
    url.set(app.cluster.url(&app.registry_database)).unwrap();
    let (outcome, _, steps) = run(&app.provisioner, &new_tenant()).await;
    let failure = outcome.unwrap_err().to_string();
    assert!(
        failure.starts_with("the step `role` failed: a sealed value does not open"),
        "{failure}"
    );
    assert_eq!(steps.iter().find(|step| step.name == "role").unwrap().attempts, 1);
    assert_eq!(things(&app).await, 0);
}
