//! Who may do what: nobody without a token, and a viewer nothing but look.

use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use super::quiet::{quiet, send, snapshot};
use super::routes::{Audience, Furnished, Route, furnished_app, tenant_routes};
use crate::accounts::in_session;
use crate::support::{Staff, TestApp, eventually, unique};

#[tokio::test]
async fn every_route_of_a_tenant_asks_for_a_token() {
    for route in tenant_routes() {
        let path = route.path.replace("{id}", &quiet().member);
        let mut request = quiet().anonymous(route.method.clone(), &path);
        if let Some(body) = route.body() {
            request = request.json(&body);
        }
        send(request).await.expect_problem(401, "invalid_token");
    }
    quiet().expect_untouched().await;
}

/// Gives somebody another role, beside an owner who is left, and signs them in again.
async fn in_role(app: &TestApp, staff: &Staff, role: &str) -> Staff {
    let change = format!(
        "UPDATE staff SET role = '{role}' WHERE id = '{}';
         INSERT INTO staff (id, email, password_hash, first_name, last_name, role, email_verified_at, created_at, updated_at)
         VALUES (gen_random_uuid(), 'owner@example.org', '!', 'Old', 'Owner', 'owner', now(), now(), now())",
        staff.user_id
    );
    app.cluster.execute(&staff.database(), &change).await;
    let credentials = json!({"email": staff.email, "password": staff.password});
    let login = app.call(Method::POST, "/v1/auth/login", Some(credentials)).await.expect(200);
    in_session(staff, &login)
}

/// Walks every route in a role: what needs a permission that it lacks is refused and changes nothing; what needs one that
/// it has is not refused for want of it.
#[rstest]
#[case::admin("admin", &["staff:manage", "members:read", "members:write", "conversations:read", "audit:read"])]
#[case::editor("editor", &["members:read", "members:write", "conversations:read"])]
#[case::viewer("viewer", &["members:read", "conversations:read"])]
#[case::guest("guest", &[])]
#[tokio::test]
async fn a_role_permits_what_it_says_on_every_route_and_no_more(
    #[case] role: &str,
    #[case] permissions: &[&str],
) {
    let app = furnished_app().await;
    let tenant = Furnished::make(&app).await;
    let guest =
        "INSERT INTO roles (id, name, permissions) VALUES (gen_random_uuid(), 'guest', '{}')";
    app.cluster.execute(&tenant.staff.database(), guest).await;
    let caller = in_role(&app, &tenant.staff, role).await;
    caller.step_up().await;
    let before = snapshot(&app.cluster, &caller.database()).await;
    let is_permitted = |route: &Route| route.permission.is_none_or(|p| permissions.contains(&p));
    for route in tenant_routes().filter(|route| !is_permitted(route)) {
        let answer = caller.call(route.method.clone(), &tenant.path(&route), route.body()).await;
        assert_eq!(answer.code(), "forbidden", "{} {}", route.method, route.path);
        answer.expect_problem(403, "forbidden");
    }
    assert_eq!(snapshot(&app.cluster, &caller.database()).await, before);
    let me = caller.get("/v1/auth/me").await.expect(200);
    for permission in permissions {
        assert!(me["permissions"].as_array().unwrap().contains(&json!(permission)), "{me}");
    }
    for route in tenant_routes().filter(is_permitted) {
        let answer = caller.call(route.method.clone(), &tenant.path(&route), route.body()).await;
        let what = format!("{} {}: {}", route.method, route.path, answer.body);
        match route.audience {
            Audience::AsksForSecret => {
                assert_eq!((answer.status, answer.code()), route.refused_guess(), "{what}");
            }
            _ => assert!((200..300).contains(&answer.status), "{what}"),
        }
    }
}

/// The token still names the role that they had.
#[tokio::test]
async fn another_role_or_none_counts_within_seconds() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let add = async || {
        let body = json!({"name": format!("Branch {}", unique())});
        staff.post("/v1/branches", body).await
    };
    let change = async |sql: &str| app.cluster.execute(&staff.database(), sql).await;
    add().await.expect(201);
    change("UPDATE staff SET role = 'viewer'").await;
    eventually("the role of today counts", async || add().await.code() == "forbidden").await;
    change("UPDATE roles SET permissions = permissions || '{members:write}' WHERE name = 'viewer'")
        .await;
    eventually("what it permits counts", async || add().await.status == 201).await;
    change("UPDATE staff SET status = 'disabled'").await;
    eventually("who is out is out", async || add().await.code() == "invalid_token").await;
    staff.get("/v1/members").await.expect_problem(401, "invalid_token");
}
