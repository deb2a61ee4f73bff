//! The operations listener: what is served there and nowhere else, and that looking changes nothing.

use narthex::tenant_router::PoolEvent;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::quiet::{quiet, send};
use crate::support::{Answer, Staff, TestApp, eventually};

/// Asks the operations listener.
async fn ask(app: &TestApp, path: &str) -> Answer {
    call(app, Method::GET, path).await
}

async fn call(app: &TestApp, method: Method, path: &str) -> Answer {
    send(app.client.request(method, format!("{}{path}", app.operations_url))).await
}

async fn health_of(app: &TestApp, staff: &Staff) -> Value {
    ask(app, &format!("/health/tenants/{}", staff.tenant_id)).await.expect(200)
}

#[rstest]
#[case("/metrics")]
#[case("/health/tenants/01890000-0000-7000-8000-000000000001")]
#[tokio::test]
async fn what_is_for_operations_is_not_served_to_the_public(#[case] path: &str) {
    quiet().get(path).await.expect_problem(404, "not_found");
    send(quiet().anonymous(Method::GET, path)).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn what_is_for_the_public_is_not_served_to_operations() {
    let app = TestApp::start().await;
    for path in ["/", "/docs/", "/openapi.json", "/v1/members", "/v1/auth/me", "/problems/busy"] {
        ask(&app, path).await.expect_problem(404, "not_found");
    }
    let method = call(&app, Method::POST, "/healthz").await;
    method.expect_problem(405, "method_not_allowed");
    assert_eq!(ask(&app, "/healthz").await.expect(200), json!({"status": "ok"}));
    eventually("it is ready", async || ask(&app, "/readyz").await.status == 200).await;
}

#[tokio::test]
async fn the_health_of_a_tenant_says_how_it_stands() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let tenant = staff.get("/v1/auth/me").await.expect(200)["tenant"].clone();
    let health = health_of(&app, &staff).await;
    let expected = ["breaker", "id", "last_error", "pool", "schema_supported", "schema_version"];
    let keys: Vec<&String> = health.as_object().unwrap().keys().collect();
    assert_eq!(keys[..6], expected);
    assert_eq!(keys[6..], ["slug", "status"]);
    assert_eq!((&health["id"], &health["slug"]), (&tenant["id"], &tenant["slug"]));
    assert_eq!((&health["status"], &health["schema_supported"]), (&json!("active"), &json!(true)));
    assert!(health["schema_version"].as_str().unwrap().starts_with('m'), "{health}");
    let named = [app.registry_database.as_str(), &staff.database(), &staff.email];
    assert!(named.iter().all(|name| !health.to_string().contains(name)), "{health}");

    app.registry_execute("UPDATE tenants SET status = 'suspended', schema_version = 'm2020_old'")
        .await;
    eventually("the change is seen", async || {
        let health = health_of(&app, &staff).await;
        health["status"] == "suspended"
            && health["schema_version"] == "m2020_old"
            && health["schema_supported"] == false
    })
    .await;
}

#[rstest]
#[case::nobody(&Uuid::new_v4().to_string())]
#[case::no_id("grace-chapel")]
#[case::nothing("%00")]
#[tokio::test]
async fn the_health_of_nobody_is_not_found(#[case] id: &str) {
    let app = TestApp::start().await;
    ask(&app, &format!("/health/tenants/{id}")).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn asking_for_the_health_of_a_tenant_opens_no_pool() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let cold = app.replica().await;
    for _ in 0..3 {
        assert_eq!(health_of(&cold, &staff).await["pool"], Value::Null);
    }
    let seen = cold.router.statistics();
    let tried = [PoolEvent::Opened, PoolEvent::OpenFailed].map(|event| seen.count(event));
    assert_eq!((seen.open, seen.leases, tried), (0, 0, [0, 0]));
}

/// Else a dashboard that shows every tenant would decide whose pool is closed.
#[tokio::test]
async fn asking_for_the_health_of_a_tenant_does_not_count_as_a_use() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.router.max_open_tenants = 2;
    }))
    .await;
    let (first, second, third) = (app.register().await, app.register().await, app.register().await);
    for staff in [&first, &second] {
        staff.get("/v1/members").await.expect(200);
    }
    for _ in 0..3 {
        health_of(&app, &first).await;
    }
    third.get("/v1/members").await.expect(200);
    let opened = || app.router.statistics().count(PoolEvent::Opened);
    let before = opened();
    second.get("/v1/members").await.expect(200);
    assert_eq!(opened(), before, "the pool that was used last has been closed");
    first.get("/v1/members").await.expect(200);
    assert_eq!(opened(), before + 1, "the pool that was only looked at has been kept");
}

#[tokio::test]
async fn asking_for_the_health_of_a_tenant_keeps_no_pool_open() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.router.idle_timeout = std::time::Duration::from_millis(500);
    }))
    .await;
    let staff = app.register().await;
    staff.get("/v1/members").await.expect(200);
    eventually("the pool is closed though somebody looks all the time", async || {
        health_of(&app, &staff).await;
        app.router.statistics().open == 0
    })
    .await;
}

#[tokio::test]
async fn the_health_of_a_tenant_shows_its_open_pool() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    staff.get("/v1/members").await.expect(200);
    let pool = async || health_of(&app, &staff).await["pool"].clone();
    let idle = json!({"state": "open", "connections": 1, "idle": 1, "leases": 0, "waiting": 0});
    eventually("the connection is back", async || pool().await == idle).await;
    let db = app.tenant_db(staff.tenant_id).await;
    let lent = json!({"state": "open", "connections": 1, "idle": 0, "leases": 1, "waiting": 0});
    assert_eq!(pool().await, lent);
    drop(db);
}

#[tokio::test]
async fn the_health_of_a_tenant_counts_who_waits() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.router.max_connections_per_tenant = 1;
        settings.router.acquire_timeout = std::time::Duration::from_secs(20);
    }))
    .await;
    let staff = app.register().await;
    let db = app.tenant_db(staff.tenant_id).await;
    let caller = staff.clone();
    let waiting = tokio::spawn(async move { caller.get("/v1/members").await });
    eventually("one waits", async || {
        let pool = &health_of(&app, &staff).await["pool"];
        (&pool["leases"], &pool["waiting"]) == (&json!(2), &json!(1))
    })
    .await;
    drop(db);
    waiting.await.unwrap().expect(200);
}
