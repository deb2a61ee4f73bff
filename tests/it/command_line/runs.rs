//! The ledger by the command line: what a run is at, its history, and what an operator can do to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use narthex::identifiers::TenantId;
use narthex::provisioning::{
    FailpointAction, FailpointPosition, Failpoints, Planned, Refusal, RunFailure, Started,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::CliFixture;
use crate::provisioning::{new_tenant, on_server, run, things};
use crate::support::{Answer, TestApp, TestCluster, eventually, own_cluster};

/// An application whose step `role` fails after its effect while the switch is on.
async fn with_trouble() -> (TestApp, Arc<AtomicBool>) {
    let trouble = Arc::new(AtomicBool::new(true));
    let switch = trouble.clone();
    let fails: Failpoints = Arc::new(move |at, when| {
        let is_there = (at, when) == ("role", FailpointPosition::AfterEffect);
        (is_there && switch.load(Ordering::SeqCst)).then_some(FailpointAction::Fails)
    });
    (TestApp::interrupted(fails, Box::new(|_| {})).await, trouble)
}

/// A run that nobody has in hand because its next attempt is an hour away.
async fn reschedule(app: &TestApp) -> Started {
    let started = app.provisioner.start(&new_tenant(), None).await.unwrap();
    let id = started.planned.run_id;
    let waits = format!(
        "SELECT count(*) FROM provisioning_runs WHERE id = '{id}' AND status = 'running' AND lease_owner IS NULL"
    );
    eventually("it is put off", async || app.registry_count(&waits).await == 1).await;
    app.registry_execute(&format!(
        "UPDATE provisioning_runs SET next_attempt_at = now() + interval '1 hour' WHERE id = '{id}'"
    ))
    .await;
    // A claim in between must not have taken it up.
    eventually("it is put off again", async || app.registry_count(&waits).await == 1).await;
    started
}

fn events(history: &Value) -> Vec<&str> {
    history.as_array().unwrap().iter().map(|line| line["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_run_that_waits_is_cancelled_undone_and_leaves_nothing() {
    let (app, _trouble) = with_trouble().await;
    let place = CliFixture::of(&app);
    let started = reschedule(&app).await;
    let Planned { run_id, tenant_id, .. } = started.planned;
    let id = run_id.to_string();
    assert_eq!(on_server(&app, tenant_id).await, 1, "its role");

    let shown = place.json(&["runs", "show", &id]).await;
    assert_eq!((&shown["status"], &shown["kind"]), (&json!("running"), &json!("create_tenant")));
    assert_eq!((&shown["pending_step"], &shown["most_attempts"]), (&json!("role"), &json!(30)));
    assert!(shown["attempts"].as_i64().unwrap() >= 5, "{shown}");
    assert_eq!(shown["last_error"], "interrupted AfterEffect");
    assert!(shown["next_attempt_at"].is_string() && shown["lease_owner"].is_null(), "{shown}");
    assert_eq!(shown["steps"][1]["last_error"], "interrupted AfterEffect");
    let table = place.run(&["runs", "show", &id]).await.expect(0);
    for text in ["pending_step", "role", "30", "interrupted AfterEffect", "next_attempt_at"] {
        assert!(table.contains(text), "{text} is missing in\n{table}");
    }

    let said = place.run(&["runs", "cancel", &id]).await.expect(0);
    assert!(said.contains("will be undone"), "{said}");
    let outcome = started.outcome().await;
    assert_eq!(outcome, Err(RunFailure::Refused(Refusal::Cancelled)));
    let shown = place.json(&["runs", "show", &id]).await;
    assert_eq!((&shown["status"], &shown["error_code"]), (&json!("failed"), &json!("cancelled")));
    assert_eq!((&shown["pending_step"], &shown["next_attempt_at"]), (&json!(null), &json!(null)));
    assert_eq!((on_server(&app, tenant_id).await, things(&app).await), (0, 0));
    let history = place.json(&["runs", "history", &id]).await;
    let asked = events(&history).iter().position(|event| *event == "cancel_requested").unwrap();
    let actor = history[asked]["actor"].as_str().unwrap();
    assert!(actor.starts_with("cli:") && actor.len() > 4, "{actor}");
    assert!(events(&history)[asked..].ends_with(&["step_undone", "step_undone", "run_failed"]));
    place.run(&["runs", "cancel", &id]).await.expect_error(1, &[&id, "it has ended already"]);
}

/// From the client's request to the client's next one: its tenant's server has died in between.
#[tokio::test]
async fn a_registration_that_is_stuck_is_cancelled_and_its_address_is_free_again() {
    let app = TestApp::start().await;
    let place = CliFixture::of(&app);
    let mut cluster = own_cluster().await;
    let second = TestCluster::of(&cluster);
    app.add_server(&second).await;
    cluster.crash().await.unwrap();
    let registration = app.registration();
    let register = async |prefer: &str| {
        let request = app.client.post(format!("{}/v1/auth/register", app.url)).json(&registration);
        Answer::of(request.header("prefer", prefer).send().await.unwrap()).await
    };
    let accepted = register("respond-async").await.expect(202);
    let id = accepted["registration"]["id"].as_str().unwrap().to_owned();
    let show = async || place.json(&["runs", "show", &id]).await;
    eventually("it is stuck", async || {
        let shown = show().await;
        shown["pending_step"] == "role" && shown["last_error"].is_string()
    })
    .await;
    let tenant = TenantId(show().await["tenant_id"].as_str().unwrap().parse().unwrap());
    register("wait").await.expect_problem(409, "email_taken");

    place.run(&["runs", "cancel", &id]).await.expect(0);
    eventually("it is being undone", async || show().await["status"] == "compensating").await;
    // Nobody can know what is on the server: nothing is forgotten before it has been asked.
    register("wait").await.expect_problem(409, "email_taken");
    cluster.restart().await.unwrap();
    place.run(&["runs", "retry", &id]).await;
    eventually("it is undone", async || show().await["status"] == "failed").await;
    assert_eq!(show().await["error_code"], "cancelled");
    assert_eq!(things(&app).await, 0);
    let name = tenant.database_name();
    let left = format!(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname = '{name}')
              + (SELECT count(*) FROM pg_roles WHERE rolname = '{name}')"
    );
    assert_eq!(second.count("postgres", &left).await, 0);
    let history = place.json(&["runs", "history", &id]).await;
    let asked = history.as_array().unwrap().iter().find(|line| line["event"] == "cancel_requested");
    let actor = asked.unwrap()["actor"].as_str().unwrap();
    assert!(actor.starts_with("cli:") && actor.len() > 4, "{actor}");
    let resource = app.call(Method::GET, &format!("/v1/registrations/{id}"), None).await;
    assert_eq!(resource.expect(200)["status"], "failed");
    register("wait").await.expect(201);
}

#[tokio::test]
async fn a_run_that_is_put_off_goes_on_at_once_when_it_is_asked_to() {
    let (app, trouble) = with_trouble().await;
    let place = CliFixture::of(&app);
    let started = reschedule(&app).await;
    let id = started.planned.run_id.to_string();
    trouble.store(false, Ordering::SeqCst);
    let said = place.run(&["runs", "retry", &id]).await.expect(0);
    assert!(said.contains(&format!("{id} is due now")), "{said}");
    let made = started.outcome().await.unwrap();
    assert_eq!(on_server(&app, made.tenant_id).await, 2);
    let history = place.json(&["runs", "history", &id]).await;
    let events = events(&history);
    assert!(events.contains(&"retry_requested"), "{events:?}");
    assert_eq!((events[0], *events.last().unwrap()), ("planned", "run_completed"));
    let said = place.run(&["runs", "retry", &id]).await;
    said.expect_error(1, &["is completed", "narthex tenants provision"]);
}

#[tokio::test]
async fn a_purge_and_what_is_being_undone_cannot_be_cancelled() {
    let app = TestApp::start().await;
    let place = CliFixture::of(&app);
    for (kind, status, reason) in [
        ("purge_tenant", "pending", "only goes forward"),
        ("purge_tenant", "running", "only goes forward"),
        ("create_tenant", "compensating", "undone already"),
        ("reprovision_tenant", "failed", "ended already"),
    ] {
        let id = Uuid::new_v4();
        app.registry_execute(&format!(
            "INSERT INTO provisioning_runs (id, kind, tenant_id, status, created_at, next_attempt_at)
             VALUES ('{id}', '{kind}', gen_random_uuid(), '{status}', now(), now() + interval '1 hour')"
        ))
        .await;
        let said = place.run(&["runs", "cancel", &id.to_string()]).await;
        said.expect_error(1, &[&id.to_string(), reason]);
        let noted = format!("SELECT count(*) FROM provisioning_events WHERE run_id = '{id}'");
        assert_eq!(app.registry_count(&noted).await, 0);
        let asked = format!(
            "SELECT count(*) FROM provisioning_runs WHERE id = '{id}' AND cancel_requested_at IS NOT NULL"
        );
        assert_eq!(app.registry_count(&asked).await, 0, "{kind} {status}");
    }
    let waiting = Uuid::new_v4();
    app.registry_execute(&format!(
        "INSERT INTO provisioning_runs (id, kind, tenant_id, status, created_at, lease_owner, lease_until)
         VALUES ('{waiting}', 'create_tenant', gen_random_uuid(), 'running', now(), 'other', now() + interval '1 hour')"
    ))
    .await;
    let waiting = waiting.to_string();
    place.run(&["runs", "cancel", &waiting]).await.expect(0);
    place.run(&["runs", "cancel", &waiting]).await.expect_error(1, &["cancelled already"]);
    let held = place.run(&["runs", "retry", &waiting]).await.expect(0);
    assert!(held.contains("in the hands of the process other"), "{held}");
    let nobody = Uuid::new_v4().to_string();
    for command in ["show", "history", "retry", "cancel"] {
        let said = place.run(&["runs", command, &nobody]).await;
        said.expect_error(1, &[&nobody, "narthex runs list"]);
    }
}

#[tokio::test]
async fn runs_are_listed_by_what_they_are_and_whom_they_concern() {
    let app = TestApp::start().await;
    let place = CliFixture::of(&app);
    let (first, ..) = run(&app.provisioner, &new_tenant()).await;
    let (second, ..) = run(&app.provisioner, &new_tenant()).await;
    let (first, second) = (first.unwrap().tenant_id, second.unwrap().tenant_id);
    let tenants = async |arguments: &[&str]| {
        let all: Vec<&str> = ["runs", "list"].iter().chain(arguments).copied().collect();
        let listed = place.json(&all).await;
        let ids = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|row| TenantId(row["tenant_id"].as_str().unwrap().parse().unwrap()));
        ids.collect::<Vec<_>>()
    };
    let slug = format!("SELECT slug FROM tenants WHERE id = '{second}'");
    let slug = app.cluster.texts(&app.registry_database, &slug).await.remove(0);
    assert_eq!(tenants(&[]).await, [second, first]);
    assert_eq!(tenants(&["--limit", "1"]).await, [second]);
    assert_eq!(tenants(&["--status", "completed", "--kind", "create_tenant"]).await.len(), 2);
    assert_eq!(tenants(&["--tenant", &first.to_string()]).await, [first]);
    assert_eq!(tenants(&["--tenant", &slug]).await, [second]);
    assert_eq!(tenants(&["--status", "failed"]).await, []);
    assert_eq!(tenants(&["--kind", "purge_tenant"]).await, []);
    let table = place.run(&["runs", "list"]).await.expect(0);
    assert!(table.contains("completed") && table.contains("2 run(s)"), "{table}");
    let wrong = place.run(&["runs", "list", "--status", "done"]).await;
    wrong.expect_error(2, &["pending, running, completed, compensating, failed"]);
    let nobody = place.run(&["runs", "list", "--tenant", "nobody"]).await;
    nobody.expect_error(1, &["`nobody`", "narthex tenants list"]);
}
