//! `Idempotency-Key` at registration: a repeat finds the first one again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use narthex::provisioning::{FailpointAction, FailpointPosition, Failpoints};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestSettings, eventually, unique};

async fn register(app: &TestApp, key: &str, registration: &Value) -> Answer {
    let request = app.client.post(format!("{}/v1/auth/register", app.url));
    let request = request.header("idempotency-key", key).json(registration);
    Answer::of(request.send().await.unwrap()).await
}

fn patient() -> TestSettings {
    Box::new(|settings| {
        settings.provisioning.wait = Duration::from_secs(25);
        settings.http.request_timeout = Duration::from_secs(28);
    })
}

async fn tenants(app: &TestApp) -> i64 {
    app.registry_count("SELECT count(*) FROM tenants").await
}

#[tokio::test]
async fn a_repetition_finds_the_same_registration_tenant_and_user_with_a_fresh_session() {
    let app = TestApp::start_with(patient()).await;
    let (key, registration) = (unique(), app.registration());
    let first = register(&app, &key, &registration).await;
    let location = first.headers["location"].clone();
    let first = first.expect(201);
    // As the draft writes it, in quotation marks.
    let again = register(&app, &format!("\"{key}\""), &registration).await;
    assert_eq!(again.headers["location"], location);
    let again = again.expect(201);
    for same in ["registration", "tenant"] {
        assert_eq!(first[same], again[same]);
    }
    assert_eq!(first["user"]["id"], again["user"]["id"]);
    assert_ne!(first["access_token"], again["access_token"]);
    assert_ne!(first["refresh_token"], again["refresh_token"]);
    let sessions = "SELECT count(*) FROM sessions";
    let database = format!("tenant_{}", first["tenant"]["id"].as_str().unwrap().replace('-', ""));
    assert_eq!(app.cluster.count(&database, sessions).await, 2);
    assert_eq!(tenants(&app).await, 1);
    for secret in
        [&key, registration["password"].as_str().unwrap(), registration["email"].as_str().unwrap()]
    {
        assert!(!app.cluster.holds(&app.registry_database, secret).await, "{secret}");
    }
}

#[rstest]
#[case("organization_name", json!("Another Church"))]
#[case("password", json!("another password"))]
#[case("email", json!("another@example.org"))]
#[case("slug", json!("another-slug"))]
#[tokio::test]
async fn a_key_with_another_body_is_refused(#[case] field: &str, #[case] value: Value) {
    let app = TestApp::start_with(patient()).await;
    let (key, registration) = (unique(), app.registration());
    register(&app, &key, &registration).await.expect(201);
    let mut other = registration.clone();
    other[field] = value;
    register(&app, &key, &other).await.expect_problem(422, "idempotency_key_reused");
    assert_eq!(tenants(&app).await, 1);
}

#[tokio::test]
async fn while_the_first_is_worked_on_a_repetition_is_told_so() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.provisioning.wait = Duration::from_millis(50);
    }))
    .await;
    let mut holder = app.cluster.connect(&app.registry_database).await;
    sqlx::Executor::execute(&mut holder, "BEGIN; LOCK TABLE tenants IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let (key, registration) = (unique(), app.registration());
    register(&app, &key, &registration).await.expect(202);
    register(&app, &key, &registration).await.expect_problem(409, "idempotency_in_progress");
    sqlx::Executor::execute(&mut holder, "ROLLBACK").await.unwrap();
    eventually("it is made", async || register(&app, &key, &registration).await.status == 201)
        .await;
    assert_eq!(tenants(&app).await, 1);
}

#[tokio::test]
async fn a_failure_is_told_again() {
    let app = TestApp::start_with(patient()).await;
    let (key, registration) = (unique(), app.registration());
    register(&app, &unique(), &registration).await.expect(201);
    for _ in 0..2 {
        register(&app, &key, &registration).await.expect_problem(409, "email_taken");
    }
    assert_eq!(app.registry_count("SELECT count(*) FROM provisioning_runs").await, 2);
}

#[tokio::test]
async fn a_failure_that_was_no_fault_of_the_client_frees_the_key() {
    let failed = AtomicBool::new(false);
    let once: Failpoints = Arc::new(move |at, when| {
        let now = (at, when) == ("role", FailpointPosition::AfterEffect);
        (now && !failed.swap(true, Ordering::SeqCst)).then_some(FailpointAction::FailsForGood)
    });
    let app = TestApp::interrupted(once, patient()).await;
    let (key, registration) = (unique(), app.registration());
    register(&app, &key, &registration).await.expect_problem(503, "busy");
    assert_eq!(tenants(&app).await, 0);
    let made = register(&app, &key, &registration).await.expect(201);
    let again = register(&app, &key, &registration).await.expect(201);
    assert_eq!((tenants(&app).await, &made["tenant"]), (1, &again["tenant"]));
}

#[tokio::test]
async fn who_no_longer_has_the_owners_password_gets_no_session() {
    let app = TestApp::start_with(patient()).await;
    let (key, registration) = (unique(), app.registration());
    let made = register(&app, &key, &registration).await.expect(201);
    let database = format!("tenant_{}", made["tenant"]["id"].as_str().unwrap().replace('-', ""));
    let hash = app.accounts.hasher().hash("changed since then".into()).await.unwrap();
    app.cluster.execute(&database, &format!("UPDATE staff SET password_hash = '{hash}'")).await;
    register(&app, &key, &registration).await.expect_problem(401, "invalid_credentials");
    app.cluster.execute(&database, "UPDATE staff SET status = 'disabled'").await;
    register(&app, &key, &registration).await.expect_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_key_is_remembered_for_a_day() {
    let app = TestApp::start_with(patient()).await;
    let (key, registration) = (unique(), app.registration());
    register(&app, &key, &registration).await.expect(201);
    app.clock.advance(TimeDelta::hours(23));
    register(&app, &key, &registration).await.expect(201);
    app.clock.advance(TimeDelta::hours(2));
    let other = app.registration();
    let made = register(&app, &key, &other).await.expect(201);
    assert_eq!(made["user"]["email"], other["email"]);
    app.clock.advance(TimeDelta::hours(25));
    assert_eq!(app.provisioner.clean_up().await.unwrap(), 1);
    assert_eq!(app.registry_count("SELECT count(*) FROM registrations").await, 0);
}

#[rstest]
#[case("")]
#[case("with space")]
#[case("\"unclosed")]
#[tokio::test]
async fn a_key_that_is_none_is_refused_and_nothing_is_written(#[case] key: &str) {
    let app = TestApp::start().await;
    let answer = register(&app, key, &app.registration()).await;
    assert_eq!(answer.faults(), ["Idempotency-Key: invalid"]);
    answer.expect_problem(422, "validation_failed");
    assert_eq!(app.registry_count("SELECT count(*) FROM provisioning_runs").await, 0);
}

/// Registrations, and how often each of them comes. `scripts/bench faults` plays 100, ten times each.
fn crowd() -> (usize, usize) {
    let number = |name: &str, least| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(least)
    };
    (number("REGISTRATIONS", 8), number("REPETITIONS", 4))
}

#[tokio::test]
async fn however_many_come_at_once_each_registration_makes_one_tenant() {
    let (registrations, repetitions) = crowd();
    let app = TestApp::start_with(Box::new(|settings| {
        patient()(settings);
        // All of them call from one address.
        settings.http.max_connections_per_network = 10_000;
    }))
    .await;
    let wanted: Vec<(String, Value)> =
        (0..registrations).map(|_| (unique(), app.registration())).collect();
    let all = join_all((0..registrations * repetitions).map(async |i| {
        let (key, registration) = &wanted[i % registrations];
        // A client that is told to come again comes again, each time a little later.
        let mut wait = Duration::from_millis(100);
        for _ in 0..60 {
            let answer = register(&app, key, registration).await;
            match answer.status {
                201 => return answer.body["tenant"]["id"].as_str().unwrap().to_owned(),
                202 | 409 | 503 => tokio::time::sleep(wait).await,
                _ => panic!("{answer:?}"),
            }
            wait = (wait * 2).min(Duration::from_secs(10));
        }
        panic!("never answered");
    }));
    let made: BTreeSet<String> = all.await.into_iter().collect();
    assert_eq!(made.len(), registrations);
    let active = "SELECT count(*) FROM tenants WHERE status = 'active'";
    let expected = i64::try_from(registrations).unwrap();
    assert_eq!((tenants(&app).await, app.registry_count(active).await), (expected, expected));
    assert_eq!(app.registry_count("SELECT count(*) FROM provisioning_runs").await, expected);
    let call = app.call(Method::GET, "/healthz", None).await;
    call.expect(200);
}

/// Anybody can have registrations refused; what stays of them does not stay for ever.
#[tokio::test]
async fn the_history_of_a_registration_that_came_to_nothing_is_forgotten_after_a_month() {
    let app = TestApp::start_with(patient()).await;
    let registration = app.registration();
    register(&app, &unique(), &registration).await.expect(201);
    register(&app, &unique(), &registration).await.expect_problem(409, "email_taken");
    let runs = async || app.registry_count("SELECT count(*) FROM provisioning_runs").await;
    let ended = async |days: i32| {
        let then =
            format!("UPDATE provisioning_runs SET finished_at = now() - interval '{days} days'");
        app.registry_execute(&then).await;
        app.provisioner.clean_up().await.unwrap();
    };
    ended(29).await;
    assert_eq!(runs().await, 2);
    ended(31).await;
    assert_eq!(runs().await, 1, "that of the tenant stays");
}

#[tokio::test]
async fn a_password_is_not_guessed_by_repeating_a_registration() {
    let app = TestApp::start_with(Box::new(|settings| {
        patient()(settings);
        settings.limits.enabled = true;
        settings.limits.login = "2/15m".parse().unwrap();
    }))
    .await;
    let (key, registration) = (unique(), app.registration());
    let made = register(&app, &key, &registration).await.expect(201);
    let database = format!("tenant_{}", made["tenant"]["id"].as_str().unwrap().replace('-', ""));
    let hash = app.accounts.hasher().hash("changed since then".into()).await.unwrap();
    app.cluster.execute(&database, &format!("UPDATE staff SET password_hash = '{hash}'")).await;
    for _ in 0..2 {
        register(&app, &key, &registration).await.expect_problem(401, "invalid_credentials");
    }
    register(&app, &key, &registration).await.expect_problem(429, "rate_limited");
    let body = json!({"email": registration["email"], "password": "changed since then"});
    let login = app.call(Method::POST, "/v1/auth/login", Some(body)).await;
    login.expect_problem(429, "rate_limited");
}
