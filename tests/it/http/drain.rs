//! The end of a replica, seen from outside: readiness fails first, everything is served on, then the doors close, and
//! what is in flight is finished.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor;
use tokio::net::TcpStream;

use super::quiet::send;
use crate::support::{Answer, Staff, TestApp, eventually};

/// So long that a test ends it by itself.
const LONG: Duration = Duration::from_secs(600);

/// An application that is ready, and whose doors stay open in the drain for `delay`.
async fn ready(delay: Duration) -> TestApp {
    let app = TestApp::start_with(Box::new(move |settings| {
        settings.http.drain_delay = delay;
        settings.router.idle_timeout = Duration::from_secs(1);
    }))
    .await;
    eventually("it is ready", async || readiness(&app.url).await == (200, json!("ready"))).await;
    app
}

/// On a connection of its own, as every request of this file: those that are open already tell nothing of the door.
fn stranger() -> reqwest::Client {
    let client = narthex::outbound::builder().no_proxy().timeout(Duration::from_secs(30));
    client.pool_max_idle_per_host(0).build().unwrap()
}

async fn call(url: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = stranger().request(method, format!("{url}{path}"));
    send(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

async fn as_staff(app: &TestApp, staff: &Staff, path: &str) -> Answer {
    send(stranger().get(format!("{}{path}", app.url)).bearer_auth(&staff.token)).await
}

async fn readiness(url: &str) -> (u16, Value) {
    let answer = call(url, Method::GET, "/readyz", None).await;
    (answer.status, answer.body["status"].clone())
}

/// Does anybody answer there?
async fn is_open(url: &str) -> bool {
    TcpStream::connect(url.strip_prefix("http://").unwrap()).await.is_ok()
}

#[tokio::test]
async fn readiness_fails_first_and_everything_is_served_on_new_connections() {
    let app = ready(LONG).await;
    let staff = app.register().await;
    app.assign_number("+13125550111", staff.tenant_id).await;
    app.life.drain();
    for url in [&app.url, &app.operations_url] {
        assert_eq!(readiness(url).await, (503, json!("draining")));
        call(url, Method::GET, "/healthz", None).await.expect(200);
    }
    let health = call(&app.url, Method::GET, "/health", None).await;
    assert!(health.status == 503 && health.headers.contains_key("retry-after"));
    let scrape = call(&app.operations_url, Method::GET, "/metrics", None).await;
    let scrape = String::from_utf8(scrape.bytes).unwrap();
    assert!(scrape.contains("\nnarthex_readiness{state=\"draining\"} 1\n"), "{scrape}");
    assert!(scrape.contains("\nnarthex_readiness{state=\"ready\"} 0\n"), "{scrape}");

    as_staff(&app, &staff, "/v1/members").await.expect(200);
    let credentials = json!({"email": staff.email, "password": staff.password});
    call(&app.url, Method::POST, "/v1/auth/login", Some(credentials)).await.expect(200);
    let sms = app.provider.sms("+14155550100", "+13125550111", "Is there a service on Sunday?");
    assert_eq!(app.provider.send(&sms).await.expect(200), json!({"status": "accepted"}));
    assert!(!app.life.is_stopping() && !app.served.is_finished());
}

/// It is written down: should this replica not finish it, another one will.
#[tokio::test]
async fn a_new_registration_is_taken_in_the_drain_and_finished() {
    let app = ready(LONG).await;
    app.life.drain();
    let registration = Some(app.registration());
    call(&app.url, Method::POST, "/v1/auth/register", registration).await.expect(201);
    let completed = "SELECT count(*) FROM provisioning_runs WHERE status = 'completed'";
    assert_eq!(app.registry_count(completed).await, 1);
}

#[tokio::test]
async fn a_registration_that_has_begun_is_finished() {
    let app = ready(Duration::ZERO).await;
    let registration = app.registration();
    let request = stranger().post(format!("{}/v1/auth/register", app.url));
    let request = request.header("prefer", "respond-async").json(&registration);
    send(request).await.expect(202);
    app.life.drain();
    let (registry, database) = (app.cluster.clone(), app.registry_database.clone());
    let mut app = app;
    assert!((&mut app.served).await.unwrap());
    let made = "SELECT count(*) FROM provisioning_runs WHERE status = 'completed'";
    assert_eq!(registry.count(&database, made).await, 1);
}

/// From before the drain until after the doors have closed, with a lease of its tenant's pool.
#[tokio::test]
async fn a_request_in_flight_across_the_whole_drain_finishes() {
    let mut app = ready(Duration::from_millis(500)).await;
    let staff = app.register().await;
    let mut holder = app.cluster.connect(&staff.database()).await;
    holder.execute("BEGIN; LOCK TABLE members").await.unwrap();
    let request = tokio::spawn(
        stranger().get(format!("{}/v1/members", app.url)).bearer_auth(&staff.token).send(),
    );
    eventually("the request waits for the table", async || {
        let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
            WHERE NOT l.granted AND d.datname = current_database()";
        app.cluster.count(&staff.database(), waiting).await == 1
    })
    .await;
    app.life.drain();
    for url in [&app.url, &app.operations_url] {
        eventually("the door is closed", async || !is_open(url).await).await;
    }
    assert!(!app.served.is_finished() && !request.is_finished());
    assert_eq!(app.router.statistics().leases, 1);
    // What a request needs goes on as long as one is there.
    assert!(!app.life.is_stopping());
    holder.execute("ROLLBACK").await.unwrap();
    let answer = Answer::of(request.await.unwrap().unwrap()).await.expect(200);
    assert_eq!(answer["data"], json!([]));
    assert!((&mut app.served).await.unwrap(), "it did not end well");
    let seen = app.router.statistics();
    assert_eq!((seen.open, seen.leases), (0, 0));
}

#[tokio::test]
async fn a_request_that_takes_longer_than_the_drain_timeout_is_cut_off() {
    let mut app = TestApp::start_with(Box::new(|settings| {
        settings.http.drain_timeout = Duration::from_millis(200);
    }))
    .await;
    let staff = app.register().await;
    let mut holder = app.cluster.connect(&staff.database()).await;
    holder.execute("BEGIN; LOCK TABLE members").await.unwrap();
    let url = format!("{}/v1/members", app.url);
    let request = tokio::spawn(stranger().get(url).bearer_auth(&staff.token).send());
    eventually("the request has its lease", async || app.router.statistics().leases == 1).await;
    app.life.drain();
    let ended = tokio::time::timeout(Duration::from_secs(8), &mut app.served).await;
    assert!(ended.expect("the request was waited for").unwrap());
    holder.execute("ROLLBACK").await.unwrap();
    drop(request);
}

/// A token that was revoked elsewhere must not get a last chance here.
#[tokio::test]
async fn a_revocation_made_elsewhere_is_honoured_in_the_drain() {
    let app = ready(LONG).await;
    let staff = app.register().await;
    let replica = app.replica().await;
    as_staff(&app, &staff, "/v1/auth/me").await.expect(200);
    app.life.drain();
    as_staff(&app, &staff, "/v1/auth/me").await.expect(200);
    let everywhere = json!({"everywhere": true});
    staff.at(&replica).post("/v1/auth/logout", everywhere).await.expect(204);
    eventually("the token is worthless here too", async || {
        as_staff(&app, &staff, "/v1/auth/me").await.code() == "token_revoked"
    })
    .await;
    assert_eq!(readiness(&app.url).await, (503, json!("draining")));
}

#[tokio::test]
async fn idle_pools_are_closed_in_the_drain() {
    let app = ready(LONG).await;
    let staff = app.register().await;
    app.life.drain();
    as_staff(&app, &staff, "/v1/members").await.expect(200);
    assert_eq!(app.router.statistics().open, 1);
    eventually("the pool is closed", async || app.router.statistics().open == 0).await;
}

#[tokio::test]
async fn the_stop_cuts_the_delay_short() {
    let mut app = ready(LONG).await;
    app.life.drain();
    assert!(is_open(&app.url).await);
    app.life.stop();
    let ended = tokio::time::timeout(Duration::from_secs(30), &mut app.served).await;
    assert!(ended.expect("it still waits").unwrap());
    assert!(!is_open(&app.url).await && !is_open(&app.operations_url).await);
}
