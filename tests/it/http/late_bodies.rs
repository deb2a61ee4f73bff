//! A client sends its headers, and the body when it likes. Who has lost their session or their rights in between changes nothing.

use narthex::registry::people::operators::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::quiet::snapshot;
use super::raw;
use super::routes::{Furnished, Route, furnished_app, operator_routes, tenant_routes};
use crate::accounts::in_session;
use crate::operators::Things;
use crate::support::{Answer, Staff, TestApp, TestOperator};

/// A request whose headers were judged, and whose body the server waits for.
pub struct Begun {
    connection: TcpStream,
    body: String,
}

impl Begun {
    /// Sends the headers, and waits until the handler asks for the body.
    pub async fn send(
        url: &str,
        (method, path): (&Method, &str),
        token: &str,
        body: &Value,
    ) -> Self {
        let body = body.to_string();
        let head = raw::head(
            &format!("{method} {path}"),
            &[
                &format!("authorization: Bearer {token}"),
                "content-type: application/json",
                "expect: 100-continue",
                &format!("content-length: {}", body.len()),
            ],
        );
        let mut connection = raw::connect(url).await;
        connection.write_all(&head).await.unwrap();
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut read = [0; CONTINUE.len()];
        connection.read_exact(&mut read).await.unwrap();
        assert_eq!(read, CONTINUE, "{method} {path}: {}", String::from_utf8_lossy(&read));
        Self { connection, body }
    }

    /// Sends the body, and reads the answer.
    pub async fn finish(mut self) -> Answer {
        self.connection.write_all(self.body.as_bytes()).await.unwrap();
        raw::receive(&mut self.connection).await
    }
}

async fn contents(app: &TestApp, tenant: &Staff) -> [Vec<String>; 2] {
    let mut registry = snapshot(&app.cluster, &app.registry_database).await;
    registry.retain(|row| !row.starts_with("provisioning_"));
    [registry, snapshot(&app.cluster, &tenant.database()).await]
}

/// Of a change also the one that asks for nothing: what is shown in answer is shown to those who may change it.
fn also_nothing((route, body): (Route, Value)) -> Vec<(Route, Value)> {
    match route.method {
        Method::PATCH => vec![(route.clone(), body), (route, json!({}))],
        _ => vec![(route, body)],
    }
}

/// A good body, with the right password where one is asked for.
fn body_of(route: &Route, staff: &Staff) -> Option<Value> {
    // What they ask for beside the password is another test's.
    if ["/v1/auth/mfa/confirm", "/v1/auth/mfa/disable"].contains(&route.path) {
        return None;
    }
    let mut body = route.body()?;
    for field in ["password", "current_password"] {
        if let Some(password) = body.get_mut(field) {
            *password = json!(staff.password);
        }
    }
    Some(body)
}

async fn signed_in(app: &TestApp, staff: &Staff) -> Staff {
    let credentials = json!({"email": staff.email, "password": staff.password});
    let session = app.call(Method::POST, "/v1/auth/login", Some(credentials)).await.expect(200);
    in_session(staff, &session)
}

/// What a caller loses between headers and body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Sessions,
    Account,
    Role,
}

#[rstest]
#[case::sessions(Loss::Sessions, 401)]
#[case::account(Loss::Account, 401)]
#[case::role(Loss::Role, 403)]
#[tokio::test]
async fn staff_who_lose_their_rights_before_the_body_change_nothing_on_any_route(
    #[case] loss: Loss,
    #[case] status: u16,
) {
    let app = furnished_app().await;
    let tenant = Furnished::make(&app).await;
    let staff = &tenant.staff;
    let slug = staff.get("/v1/tenant").await.expect(200)["slug"].clone();
    let update = async |change: &str| {
        let sql = format!("UPDATE staff SET {change} WHERE id = '{}'", staff.user_id);
        app.cluster.execute(&staff.database(), &sql).await;
    };
    let mut walked = 0;
    let routes = tenant_routes().filter(|route| route.method != Method::GET);
    let routes = routes.filter_map(|route| Some((body_of(&route, staff)?, route)));
    for (route, mut body) in routes.flat_map(|(body, route)| also_nothing((route, body))) {
        if route.path == "/v1/tenant/close" {
            body["confirm"] = slug.clone();
        }
        // One's own account needs no role.
        if loss == Loss::Role && route.permission.is_none() {
            continue;
        }
        let (caller, other) = (signed_in(&app, staff).await, signed_in(&app, staff).await);
        caller.step_up().await;
        let path = tenant.path(&route);
        let begun = Begun::send(&app.url, (&route.method, &path), &caller.token, &body).await;
        match loss {
            Loss::Sessions => {
                other.post("/v1/auth/logout", json!({"everywhere": true})).await.expect(204);
            }
            Loss::Account => update("status = 'disabled'").await,
            Loss::Role => update("role = 'viewer'").await,
        }
        let before = contents(&app, staff).await;
        let answer = begun.finish().await;
        assert_eq!(answer.status, status, "{} {}: {}", route.method, route.path, answer.body);
        assert_eq!(contents(&app, staff).await, before, "{} {}", route.method, route.path);
        update("status = 'active', role = 'owner'").await;
        walked += 1;
    }
    assert!(walked >= 10, "{walked}");
}

#[tokio::test]
async fn a_key_that_is_taken_back_before_the_body_changes_nothing_on_any_route() {
    let app = furnished_app().await;
    let tenant = Furnished::make(&app).await;
    let staff = &tenant.staff;
    let me = staff.get("/v1/auth/me").await.expect(200);
    staff.step_up().await;
    let mut walked = 0;
    for route in tenant_routes().filter(|route| route.permission.is_some()) {
        let Some(body) = body_of(&route, staff).filter(|_| route.path != "/v1/tenant/close") else {
            continue;
        };
        let key = json!({"name": "Website", "permissions": me["permissions"]});
        let key = staff.post("/v1/api-keys", key).await.expect(201);
        let (secret, path) = (key["secret"].as_str().unwrap(), tenant.path(&route));
        let begun = Begun::send(&app.url, (&route.method, &path), secret, &body).await;
        let key = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
        staff.delete(&key).await.expect(204);
        let before = contents(&app, staff).await;
        let answer = begun.finish().await;
        assert_eq!(answer.status, 401, "{} {}: {}", route.method, route.path, answer.body);
        assert_eq!(contents(&app, staff).await, before, "{} {}", route.method, route.path);
        walked += 1;
    }
    assert!(walked >= 8, "{walked}");
}

#[tokio::test]
async fn an_operator_who_is_shut_out_of_a_tenant_before_the_body_changes_nothing_there() {
    let app = TestApp::start().await;
    let (owner, admin) = (app.register().await, app.operator(Role::Admin).await);
    let visit = format!("/v1/admin/tenants/{}/impersonate", owner.tenant_id);
    let branch = json!({"name": "Branch of Olga"});
    let begin = async |operator: &TestOperator| {
        let wanted = json!({"reason": "Ticket 4711: to help", "may_write": true});
        let visit = operator.post(&visit, wanted).await.expect(200);
        let token = visit["access_token"].as_str().unwrap().to_owned();
        let route = (&Method::POST, "/v1/branches");
        (visit, Begun::send(&app.url, route, &token, &branch).await)
    };
    let (visit, begun) = begin(&admin).await;
    let id = visit["id"].as_str().unwrap();
    owner.delete(&format!("/v1/tenant/impersonations/{id}")).await.expect(204);
    assert_eq!(begun.finish().await.status, 401, "shut out by the tenant");

    let olga = app.operator(Role::Admin).await;
    let (_, begun) = begin(&olga).await;
    let role = format!("UPDATE operators SET role = 'support' WHERE id = '{}'", olga.id);
    app.cluster.execute(&app.registry_database, &role).await;
    begun.finish().await.expect_problem(403, "forbidden");
    let role = role.replace("support", "admin");
    app.cluster.execute(&app.registry_database, &role).await;

    let (_, begun) = begin(&olga).await;
    olga.post("/v1/admin/auth/logout", json!({})).await.expect(204);
    assert_eq!(begun.finish().await.status, 401, "signed out");
    let branches = owner.get("/v1/branches").await.expect(200);
    assert_eq!(branches["data"], json!([]));
}

#[rstest]
#[case::session(Loss::Sessions, 401)]
#[case::account(Loss::Account, 401)]
#[case::role(Loss::Role, 403)]
#[tokio::test]
async fn operators_who_lose_their_rights_before_the_body_change_nothing_on_any_route(
    #[case] loss: Loss,
    #[case] status: u16,
) {
    let app = TestApp::start().await;
    let things = Things::make(&app).await;
    let operator = app.operator(Role::Admin).await;
    let update = async |change: &str| {
        let sql = format!("UPDATE operators SET {change} WHERE id = '{}'", operator.id);
        app.cluster.execute(&app.registry_database, &sql).await;
    };
    let mut walked = 0;
    let routes = operator_routes().filter_map(|route| Some((route.body()?, route)));
    for (route, mut body) in routes.flat_map(|(body, route)| also_nothing((route, body))) {
        let is_own = route.path.starts_with("/v1/admin/auth/");
        let asks_more = route.path.ends_with("/confirm") || route.path.ends_with("/disable");
        if asks_more || (is_own && loss == Loss::Role) {
            continue;
        }
        for field in ["password", "current_password"] {
            if let (true, Some(password)) = (is_own, body.get_mut(field)) {
                *password = json!(operator.password);
            }
        }
        let caller = operator.again().await;
        caller.step_up().await;
        let path = things.path(&route);
        let begun = Begun::send(&app.url, (&route.method, &path), &caller.token, &body).await;
        match loss {
            Loss::Sessions => {
                caller.post("/v1/admin/auth/logout", json!({})).await.expect(204);
            }
            Loss::Account => update("status = 'disabled'").await,
            Loss::Role => update("role = 'viewer'").await,
        }
        let before = things.contents(&app).await;
        let answer = begun.finish().await;
        assert_eq!(answer.status, status, "{} {}: {}", route.method, route.path, answer.body);
        assert_eq!(things.contents(&app).await, before, "{} {}", route.method, route.path);
        update("status = 'active', role = 'admin'").await;
        walked += 1;
    }
    assert!(walked >= 6, "{walked}");
}
