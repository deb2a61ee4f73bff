//! What load balancers see: alive, ready, draining, and without the registry.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::quiet::{quiet, send};
use super::raw;
use crate::support::{Answer, TestApp, TestCluster, eventually, own_cluster};

/// Far more than an answer from memory takes, far less than a wait for a database would.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn get(app: &TestApp, path: &str) -> Answer {
    app.call(Method::GET, path, None).await
}

#[tokio::test]
async fn health_is_answered_without_a_token() {
    let live = send(quiet().anonymous(Method::GET, "/healthz")).await;
    assert_eq!(live.expect(200), json!({"status": "ok"}));
    for path in ["/readyz", "/health"] {
        let ready = send(quiet().anonymous(Method::GET, path)).await.expect(200);
        assert_eq!(ready["status"], "ready");
        assert_eq!(ready["checks"]["registry"], "ok");
        assert!(ready["checks"]["open_tenants"].is_u64());
    }
}

/// Answers on a connection that stays open; `None` where it has been closed.
async fn ask(socket: &mut tokio::net::TcpStream) -> Option<(u16, Value)> {
    let request = b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n";
    socket.write_all(request).await.ok()?;
    let mut bytes = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut bytes));
    let length = read.await.expect("neither an answer nor the end").ok()?;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).ok()?))
}

#[tokio::test]
async fn a_replica_that_drains_says_so_or_hangs_up() {
    let app = TestApp::start().await;
    eventually("it is ready", async || get(&app, "/readyz").await.status == 200).await;
    let mut idle = raw::connect(&app.url).await;
    assert_eq!(ask(&mut idle).await.unwrap().0, 200);
    // A request in flight holds its connection through the drain.
    let mut busy = raw::connect(&app.url).await;
    let half = b"POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    busy.write_all(half).await.unwrap();
    get(&app, "/healthz").await.expect(200);
    app.life.stop();
    eventually("the idle connection is closed, or told that the replica drains", async || {
        let mut fresh = match tokio::net::TcpStream::connect(&app.url["http://".len()..]).await {
            Ok(fresh) => fresh,
            Err(_) => return true,
        };
        ask(&mut fresh)
            .await
            .is_none_or(|(status, body)| status == 503 && body["status"] == "draining")
    })
    .await;
    if let Some((status, body)) = ask(&mut idle).await {
        assert_eq!((status, &body["status"]), (503, &json!("draining")));
    }
    busy.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 422"), "the request in flight was not finished: {answer}");
    assert!(app.served.is_finished() || !app.life.has_failed());
}

#[tokio::test]
async fn the_readiness_of_a_draining_replica_is_503_on_a_request_in_flight() {
    let app = TestApp::start().await;
    eventually("it is ready", async || get(&app, "/readyz").await.status == 200).await;
    let mut socket = raw::connect(&app.url).await;
    socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    // The connection has been accepted when a later one has been answered.
    get(&app, "/healthz").await.expect(200);
    app.life.stop();
    let _ = socket.write_all(b"\r\n").await;
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer).await;
    // A head that is not finished when the drain begins may be given up; what is answered must be the truth.
    if !answer.is_empty() {
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("draining"), "{answer}");
        assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    }
}

#[tokio::test]
async fn without_the_registry_a_replica_is_not_ready_and_says_so_at_once() {
    let mut cluster = own_cluster().await;
    let app = TestApp::start_on(TestCluster::of(&cluster), Box::new(|_| {})).await;
    let staff = app.register().await;
    staff.get("/v1/members").await.expect(200);
    eventually("it is ready", async || get(&app, "/readyz").await.status == 200).await;

    cluster.crash().await.unwrap();
    eventually("it is not ready", async || {
        let start = Instant::now();
        let answer = get(&app, "/readyz").await;
        assert!(start.elapsed() < AT_ONCE, "readiness took {:?}", start.elapsed());
        answer.status == 503
    })
    .await;
    let start = Instant::now();
    for path in ["/readyz", "/health"] {
        let answer = get(&app, path).await;
        assert!(answer.headers.contains_key("retry-after"), "503 without Retry-After");
        let body = answer.expect(503);
        assert_eq!(
            (&body["status"], &body["checks"]["registry"]),
            (&json!("unavailable"), &json!("failed"))
        );
    }
    get(&app, "/healthz").await.expect(200);
    assert!(start.elapsed() < AT_ONCE, "health took {:?}", start.elapsed());
    let refused = staff.get("/v1/members").await;
    assert!(
        matches!(refused.code(), "registry_unavailable" | "tenant_database_unavailable"),
        "{}",
        refused.body
    );
    refused.expect_problem(503, refused.code());
    let credentials = json!({"email": staff.email, "password": staff.password});
    let login = app.call(Method::POST, "/v1/auth/login", Some(credentials)).await;
    login.expect_problem(503, "registry_unavailable");
    let registration = Some(app.registration());
    let refused = app.call(Method::POST, "/v1/auth/register", registration).await;
    refused.expect_problem(503, "registry_unavailable");

    cluster.restart().await.unwrap();
    eventually("it is ready again", async || get(&app, "/readyz").await.status == 200).await;
    eventually("the tenant answers again", async || staff.get("/v1/members").await.status == 200)
        .await;
    app.register().await;
    assert!(!app.life.has_failed());
}
