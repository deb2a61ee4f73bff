//! What each role may, on every route, walked from the table of routes; and that every call is written down.

use narthex::registry::people::operators::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::quiet::snapshot;
use crate::http::routes::{Route, operator_routes};
use crate::support::{TestApp, TestOperator, eventually, unique};

/// Once more, beside the code: who may call what.
fn least(route: &Route) -> Option<Role> {
    let (method, path) = (route.method.as_str(), route.path);
    if path.starts_with("/v1/admin/auth/") {
        return None;
    }
    Some(match (method, path) {
        ("GET", _) => Role::Viewer,
        (_, "/v1/admin/tenants/{id}/suspend")
        | (_, "/v1/admin/tenants/{id}/resume")
        | (_, "/v1/admin/tenants/{id}/provision")
        | (_, "/v1/admin/tenants/{id}/phone-numbers")
        | (_, "/v1/admin/tenants/{id}/phone-numbers/{number}")
        | (_, "/v1/admin/tenants/{id}/impersonate")
        | (_, "/v1/admin/runs/{id}/retry")
        | (_, "/v1/admin/runs/{id}/cancel") => Role::Support,
        _ => Role::Admin,
    })
}

/// One of each thing that a route can name.
pub struct Things {
    pub tenant: String,
    run: String,
    server: String,
    operator: String,
}

impl Things {
    pub async fn make(app: &TestApp) -> Self {
        let staff = app.register().await;
        let admin = app.operator(Role::Admin).await;
        let first = async |path: &str| {
            let list = admin.get(path).await.expect(200);
            list["data"][0]["id"].as_str().unwrap().to_owned()
        };
        let (run, server) = (first("/v1/admin/runs").await, first("/v1/admin/servers").await);
        let operator = app.operator(Role::Viewer).await.id.to_string();
        app.assign_number("+13125550101", staff.tenant_id).await;
        Self { tenant: staff.tenant_id.to_string(), run, server, operator }
    }

    pub fn path(&self, route: &Route) -> String {
        let id = match route.path.split('/').nth(3).unwrap() {
            "runs" => &self.run,
            "servers" => &self.server,
            "operators" => &self.operator,
            _ => &self.tenant,
        };
        let path = route.path.replace("{id}", id).replace("{number}", "+13125550101");
        match (route.method.as_str(), route.path) {
            ("DELETE", "/v1/admin/tenants/{id}") => format!("{path}?confirm=another"),
            _ => path,
        }
    }

    /// The registry without what the call itself leaves behind in any case.
    pub async fn contents(&self, app: &TestApp) -> [Vec<String>; 2] {
        let open = "SELECT count(*) FROM provisioning_runs WHERE finished_at IS NULL";
        eventually("nothing goes on", async || app.registry_count(open).await == 0).await;
        let database = format!("tenant_{}", self.tenant.replace('-', ""));
        let mut registry = snapshot(&app.cluster, &app.registry_database).await;
        registry.retain(|row| !row.starts_with("audit_log: "));
        [registry, snapshot(&app.cluster, &database).await]
    }
}

async fn call(operator: &TestOperator, things: &Things, route: &Route) -> crate::support::Answer {
    operator.call(route.method.clone(), &things.path(route), route.body()).await
}

#[tokio::test]
async fn each_role_may_what_it_may_and_nothing_else_and_every_call_is_written_down() {
    let app = TestApp::start().await;
    let things = Things::make(&app).await;
    for role in [Role::Viewer, Role::Support, Role::Admin] {
        let operator = app.operator(role).await;
        operator.step_up().await;
        let routes: Vec<Route> = operator_routes().filter(|route| least(route).is_some()).collect();
        assert!(routes.len() >= 20, "{}", routes.len());
        for route in &routes {
            let what = format!("{role:?} {} {}", route.method, route.path);
            let before = things.contents(&app).await;
            let noted = app.registry_count("SELECT count(*) FROM audit_log").await;
            let answer = call(&operator, &things, route).await;
            if least(route).unwrap() <= role {
                assert_ne!(answer.status, 403, "{what}: {}", answer.body);
                assert!(answer.status < 500, "{what}: {}", answer.body);
            } else {
                answer.expect_problem(403, "forbidden");
                assert_eq!(things.contents(&app).await, before, "{what}");
                let now = app.registry_count("SELECT count(*) FROM audit_log").await;
                assert_eq!(now, noted + 1, "{what}");
            }
            let newest = format!(
                "SELECT concat_ws(' ', target_id, detail::json->>'path', actor_id, request_id) FROM audit_log
                 WHERE action = 'request' AND sequence > {noted} ORDER BY sequence LIMIT 1"
            );
            let path = things.path(route);
            let expected = format!(
                "{} {} {} {} {}",
                route.method,
                route.path,
                path.split('?').next().unwrap(),
                operator.id,
                answer.headers["x-request-id"].to_str().unwrap()
            );
            let found = app.cluster.texts(&app.registry_database, &newest).await;
            assert_eq!(found, [expected], "{what}");
        }
        // Of one's own account the role does not matter.
        for route in operator_routes().filter(|route| least(route).is_none()) {
            if route.path.ends_with("/logout") {
                continue;
            }
            assert_ne!(call(&operator, &things, &route).await.status, 403, "{}", route.path);
        }
    }
}

#[tokio::test]
async fn a_new_role_counts_with_the_next_request_and_who_is_shut_out_is_out() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let (ada, eve) = (app.operator(Role::Admin).await, app.operator(Role::Viewer).await);
    let path = format!("/v1/admin/operators/{}", eve.id);
    ada.step_up().await;
    let new = json!({"email": format!("{}@example.org", unique()), "name": "New",
        "role": "viewer", "password": "a password for grace 7"});
    eve.post("/v1/admin/operators", new.clone()).await.expect_problem(403, "forbidden");
    let changed = ada.patch(&path, json!({"role": "admin"})).await.expect(200);
    assert_eq!((&changed["role"], &changed["status"]), (&json!("admin"), &json!("active")));
    eve.step_up().await;
    eve.at(&replica).post("/v1/admin/operators", new.clone()).await.expect(201);
    eve.post("/v1/admin/operators", new).await.expect_problem(409, "email_taken");
    ada.patch(&path, json!({"status": "disabled"})).await.expect(200);
    for app in [&app, &replica] {
        eve.at(app).get("/v1/admin/auth/me").await.expect_problem(401, "token_revoked");
    }
    // Let in again, they sign in anew: what was open before stays over.
    ada.patch(&path, json!({"status": "active", "name": "Eve"})).await.expect(200);
    eve.get("/v1/admin/auth/me").await.expect_problem(401, "token_revoked");
    let me = eve.again().await.get("/v1/admin/auth/me").await.expect(200);
    assert_eq!(me["operator"]["name"], "Eve");
    let unknown = format!("/v1/admin/operators/{}", uuid::Uuid::new_v4());
    ada.patch(&unknown, json!({"name": "X"})).await.expect_problem(404, "not_found");
    for (body, fault) in [
        (json!({"role": "root"}), "role: invalid"),
        (json!({"status": "gone"}), "status: invalid"),
        (json!({"name": ""}), "name: required"),
        (json!({"email": "x"}), "email: unknown_field"),
    ] {
        assert_eq!(ada.patch(&path, body).await.faults(), [fault]);
    }
}

#[tokio::test]
async fn the_last_admin_stays_one_also_when_two_go_at_once() {
    let app = TestApp::start().await;
    let admins = [app.operator(Role::Admin).await, app.operator(Role::Admin).await];
    let path = |of: &TestOperator| format!("/v1/admin/operators/{}", of.id);
    for round in 0..5 {
        let change =
            if round % 2 == 0 { json!({"role": "viewer"}) } else { json!({"status": "disabled"}) };
        let paths = [path(&admins[0]), path(&admins[1])];
        for admin in &admins {
            admin.step_up().await;
        }
        let (one, two) = tokio::join!(
            admins[0].patch(&paths[1], change.clone()),
            admins[1].patch(&paths[0], change.clone()),
        );
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        // The slower one is refused: as no admin any more, or because nobody else is left.
        assert_eq!(statuses[0], 200, "{} {}", one.body, two.body);
        assert!([401, 403, 409].contains(&statuses[1]), "{} {}", one.body, two.body);
        let left = "SELECT count(*) FROM operators WHERE role = 'admin' AND status = 'active'";
        assert_eq!(app.registry_count(left).await, 1);
        app.registry_execute("UPDATE operators SET role = 'admin', status = 'active'").await;
        for admin in &admins {
            let session = format!(
                "INSERT INTO operator_sessions (id, operator_id, created_at, expires_at)
                 SELECT '{}', '{}', now(), now() + interval '1 hour'
                 ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at",
                sid(&admin.token),
                admin.id
            );
            app.registry_execute(&session).await;
        }
    }
    app.registry_execute(&format!("DELETE FROM operators WHERE id = '{}'", admins[1].id)).await;
    admins[0].step_up().await;
    for change in [json!({"role": "support"}), json!({"status": "disabled"})] {
        let refused = admins[0].patch(&path(&admins[0]), change).await;
        refused.expect_problem(409, "conflict");
        assert!(refused.body["detail"].as_str().unwrap().contains("last active admin"));
    }
    admins[0].patch(&path(&admins[0]), json!({"name": "Still here"})).await.expect(200);
}

fn sid(token: &str) -> String {
    use base64::Engine;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = claims.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["sid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_operator_who_calls_too_often_waits() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.limits.enabled = true;
        settings.limits.operator = "3/1m".parse().unwrap();
    }))
    .await;
    let (ada, eve) = (app.operator(Role::Admin).await, app.operator(Role::Admin).await);
    for _ in 0..3 {
        ada.get("/v1/admin/auth/me").await.expect(200);
    }
    let noted = app.audit_log("request").await.len();
    let refused = ada.get("/v1/admin/auth/me").await;
    refused.expect_problem(429, "rate_limited");
    assert!(refused.headers["ratelimit-policy"].to_str().unwrap().contains("operator"));
    assert_eq!(app.audit_log("request").await.len(), noted);
    eve.call(Method::GET, "/v1/admin/auth/me", None).await.expect(200);
}
