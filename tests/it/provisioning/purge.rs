//! Deleting, restoring, and the end for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use narthex::postgres::administration::ServerLock;
use narthex::provisioning::{FailpointAction, FailpointPosition, Failpoints};
use narthex::registry::runs::provisioning_runs::{self, Filter, RunKind, RunStatus};
use narthex::registry::tenants::{self, Status};
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use super::on_server;
use super::service::Service;
use crate::support::{Staff, TestApp, TestCluster, TestSettings, eventually, own_cluster, played};

async fn status(app: &TestApp, staff: &Staff) -> Status {
    let db = app.registry.connect().await.unwrap();
    tenants::find(&db, staff.tenant_id).await.unwrap().unwrap().status
}

async fn delete(app: &TestApp, staff: &Staff) {
    let db = app.registry.connect().await.unwrap();
    assert!(tenants::delete(&db, staff.tenant_id, app.clock.now()).await.unwrap());
    eventually("it is closed", async || staff.get("/v1/members").await.code() == "tenant_deleted")
        .await;
}

/// As if it had been deleted so many days earlier.
async fn days_go_by(app: &TestApp, days: i32) {
    let earlier = format!("UPDATE tenants SET deleted_at = deleted_at - interval '{days} days'");
    app.registry_execute(&earlier).await;
}

async fn is_purged(app: &TestApp, staff: &Staff) {
    eventually("it is purged", async || status(app, staff).await == Status::Purged).await;
}

#[tokio::test]
async fn a_deleted_tenant_can_be_restored_with_everything_it_had() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let member = staff.add_member("Grace", "+13125550101").await;
    app.assign_number("+13125550111", staff.tenant_id).await;
    delete(&app, &staff).await;
    let db = app.registry.connect().await.unwrap();
    assert!(!tenants::delete(&db, staff.tenant_id, app.clock.now()).await.unwrap(), "twice");
    // Its address, slug and number stay its own.
    let mut again = app.registration();
    again["email"] = json!(staff.email);
    let taken = app.call(Method::POST, "/v1/auth/register", Some(again)).await;
    taken.expect_problem(409, "email_taken");
    days_go_by(&app, 29).await;
    assert_eq!(app.purges.purge_due().await.unwrap(), 0);
    assert!(tenants::restore(&db, staff.tenant_id, app.clock.now()).await.unwrap());
    assert!(!tenants::restore(&db, staff.tenant_id, app.clock.now()).await.unwrap(), "twice");
    eventually("it is served", async || staff.get("/v1/members").await.status == 200).await;
    let list = staff.get("/v1/members").await.expect(200);
    assert_eq!(list["data"], json!([member]));
}

#[tokio::test]
async fn a_suspended_tenant_is_restored_as_suspended() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let db = app.registry.connect().await.unwrap();
    let now = app.clock.now();
    let (from, to) = (Status::Active, Status::Suspended);
    assert!(tenants::change_status(&db, staff.tenant_id, from, to, now).await.unwrap());
    assert!(tenants::delete(&db, staff.tenant_id, now).await.unwrap());
    assert!(tenants::restore(&db, staff.tenant_id, now).await.unwrap());
    assert_eq!(status(&app, &staff).await, Status::Suspended);
}

/// What is gone is gone: a replica's own clock decides nothing.
#[tokio::test]
async fn a_clock_that_is_wrong_destroys_nothing() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.clock.advance(TimeDelta::days(-60));
    let db = app.registry.connect().await.unwrap();
    assert!(tenants::delete(&db, staff.tenant_id, app.clock.now()).await.unwrap());
    assert_eq!(app.purges.purge_due().await.unwrap(), 0);
    app.clock.advance(TimeDelta::days(120));
    assert_eq!(app.purges.purge_due().await.unwrap(), 0);
    assert_eq!(status(&app, &staff).await, Status::Deleted);
}

#[tokio::test]
async fn after_the_grace_nothing_is_left_but_the_record() {
    let service = Service::start().await;
    let hooks = service.makes_everything();
    let app =
        TestApp::start_with(Box::new(move |settings| settings.provisioning.hooks = hooks)).await;
    let (staff, other) = (app.register().await, app.register().await);
    app.assign_number("+13125550111", staff.tenant_id).await;
    let domain =
        format!("INSERT INTO domains VALUES ('example.net', '{}', now(), now())", staff.tenant_id);
    app.registry_execute(&domain).await;
    let slug = staff.get("/v1/auth/me").await.expect(200)["tenant"]["slug"].clone();
    delete(&app, &staff).await;
    days_go_by(&app, 31).await;
    let db = app.registry.connect().await.unwrap();
    assert_eq!(app.purges.purge_due().await.unwrap(), 1);
    assert_eq!(app.purges.purge_due().await.unwrap(), 0, "twice");
    assert!(!tenants::restore(&db, staff.tenant_id, app.clock.now()).await.unwrap(), "too late");
    is_purged(&app, &staff).await;
    assert_eq!(
        (on_server(&app, staff.tenant_id).await, on_server(&app, other.tenant_id).await),
        (0, 2)
    );
    assert_eq!(service.things(), 5, "the other tenant's");
    let of = |table: &str, more: &str| {
        format!("SELECT count(*) FROM {table} WHERE tenant_id = '{}' {more}", staff.tenant_id)
    };
    assert_eq!(app.registry_count(&of("email_index", "")).await, 0);
    assert_eq!(app.registry_count(&of("domains", "")).await, 0);
    assert_eq!(app.registry_count(&of("phone_numbers", "AND valid_until IS NULL")).await, 0);
    assert_eq!(app.registry_count(&of("phone_numbers", "")).await, 1);
    assert_eq!(app.registry_count(&of("resources", "AND released_at IS NULL")).await, 0);
    assert_eq!(app.registry_count(&of("resources", "")).await, 7, "the record stays");
    let filter = Filter { kind: Some(RunKind::PurgeTenant), ..Filter::default() };
    let runs = provisioning_runs::list(&db, &filter, 10).await.unwrap();
    assert_eq!((runs.len(), runs[0].status), (1, RunStatus::Completed));

    let begun = tenants::begin_purge(&db, staff.tenant_id, Duration::ZERO, app.clock.now()).await;
    assert!(!begun.unwrap(), "a second time");

    // Address, slug and number are free for others.
    let mut again = app.registration();
    again["email"] = json!(staff.email);
    again["slug"] = slug.clone();
    let made = app.call(Method::POST, "/v1/auth/register", Some(again)).await.expect(201);
    assert_eq!(made["tenant"]["slug"], slug);
    app.assign_number("+13125550111", other.tenant_id).await;
}

/// Whatever dies on the way: it goes on until it is done.
#[rstest]
#[tokio::test]
async fn a_purge_whose_process_dies_is_finished_by_another(
    #[values(FailpointPosition::BeforeEffect, FailpointPosition::AfterEffect)]
    moment: FailpointPosition,
    #[values(FailpointAction::Dies, FailpointAction::FailsForGood)] fault: FailpointAction,
) {
    for step in played(&["close", "drop_database", "drop_role", "forget"]) {
        purge_interrupted(step, moment, fault).await;
    }
}

async fn purge_interrupted(step: &'static str, moment: FailpointPosition, fault: FailpointAction) {
    let count = AtomicUsize::new(0);
    let failpoints: Failpoints = Arc::new(move |at, when| {
        ((at, when) == (step, moment) && count.fetch_add(1, Ordering::SeqCst) == 0).then_some(fault)
    });
    let settings: TestSettings =
        Box::new(|settings| settings.provisioning.lease = Duration::from_millis(600));
    let app = TestApp::interrupted(failpoints, settings).await;
    let staff = app.register().await;
    delete(&app, &staff).await;
    days_go_by(&app, 31).await;
    assert_eq!(app.purges.purge_due().await.unwrap(), 1);
    is_purged(&app, &staff).await;
    assert_eq!(on_server(&app, staff.tenant_id).await, 0);
}

/// A drop is heavy: a server has one at a time, whoever wants it. Nobody is in the database any more by then.
#[tokio::test]
async fn a_purge_waits_for_its_turn_on_the_server() {
    let cluster = own_cluster().await;
    let app = TestApp::start_on(TestCluster::of(&cluster), Box::new(|_| {})).await;
    let staff = app.register().await;
    let mut inside = app.cluster.connect(&staff.database()).await;
    let mut another = app.registry.server().administer().await.unwrap();
    another.lock(ServerLock::Drop).await.unwrap();
    delete(&app, &staff).await;
    days_go_by(&app, 31).await;
    assert_eq!(app.purges.purge_due().await.unwrap(), 1);
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    eventually("it waits", async || app.cluster.count("postgres", waits).await == 1).await;
    assert_eq!(on_server(&app, staff.tenant_id).await, 2);
    let open = format!(
        "SELECT count(*) FROM pg_database WHERE datname = '{}' AND datallowconn",
        staff.database()
    );
    assert_eq!(app.cluster.count("postgres", &open).await, 0);
    assert!(sqlx::Connection::ping(&mut inside).await.is_err(), "whoever was in is out");
    another.close().await;
    is_purged(&app, &staff).await;
    assert_eq!(on_server(&app, staff.tenant_id).await, 0);
}

/// A run that should not be there does not harm anybody.
#[tokio::test]
async fn a_tenant_that_is_not_condemned_is_never_purged() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let forged = format!(
        "INSERT INTO provisioning_runs (id, kind, tenant_id, status, created_at, next_attempt_at)
         VALUES ('{id}', 'purge_tenant', '{tenant}', 'pending', now(), now());
         INSERT INTO provisioning_steps (run_id, position, name, status)
         SELECT '{id}', n, name, 'pending' FROM (VALUES (0, 'drop_database'), (1, 'drop_role'), (2, 'forget')) s (n, name)",
        id = uuid::Uuid::new_v4(),
        tenant = staff.tenant_id,
    );
    app.registry_execute(&forged).await;
    eventually("it is tried", async || {
        app.registry_count("SELECT count(*) FROM provisioning_events WHERE event = 'step_failed'")
            .await
            > 1
    })
    .await;
    assert_eq!(
        (on_server(&app, staff.tenant_id).await, status(&app, &staff).await),
        (2, Status::Active)
    );
    staff.get("/v1/members").await.expect(200);
}
