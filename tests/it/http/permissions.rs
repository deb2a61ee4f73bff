//! Who may do what: nobody without a token, and a viewer nothing but look.

use reqwest::Method;
use serde_json::json;

use super::quiet::{quiet, send, snapshot};
use super::routes::{Audience, Furnished, tenant_routes};
use crate::authentication::in_session;
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

/// Gives the tenant's only member of staff another role and signs them in again.
async fn in_role(app: &TestApp, staff: &Staff, role: &str) -> Staff {
    let change = format!("UPDATE staff SET role = '{role}'");
    app.cluster.execute(&staff.database(), &change).await;
    let credentials = json!({"email": staff.email, "password": staff.password});
    let login = app.call(Method::POST, "/v1/auth/login", Some(credentials)).await.expect(200);
    in_session(staff, &login)
}

#[tokio::test]
async fn a_viewer_reads_everything_and_changes_nothing() {
    let app = TestApp::start().await;
    let tenant = Furnished::make(&app).await;
    let viewer = in_role(&app, &tenant.staff, "viewer").await;
    let before = snapshot(&app.cluster, &viewer.database()).await;
    let of_the_tenant = tenant_routes().filter(|route| {
        let is_own = matches!(route.audience, Audience::ChangesOwn | Audience::AsksForSecret);
        !route.path.ends_with("/logout") && !is_own
    });
    for route in of_the_tenant {
        let answer = viewer.call(route.method.clone(), &tenant.path(&route), route.body()).await;
        match route.audience {
            Audience::Adds | Audience::Changes => answer.expect_problem(403, "forbidden"),
            _ => assert!([200, 204].contains(&answer.status), "{} {}", route.method, route.path),
        }
    }
    assert_eq!(snapshot(&app.cluster, &viewer.database()).await, before);
    let me = viewer.get("/v1/auth/me").await.expect(200);
    assert_eq!(me["permissions"], json!(["members:read", "conversations:read"]));
    viewer.call(Method::POST, "/v1/auth/logout", None).await.expect(204);
}

#[tokio::test]
async fn a_role_without_permissions_may_only_see_itself() {
    let app = TestApp::start().await;
    let tenant = Furnished::make(&app).await;
    let role =
        "INSERT INTO roles (id, name, permissions) VALUES (gen_random_uuid(), 'guest', '{}')";
    app.cluster.execute(&tenant.staff.database(), role).await;
    let guest = in_role(&app, &tenant.staff, "guest").await;
    let of_the_tenant = tenant_routes().filter(|route| {
        !matches!(
            route.audience,
            Audience::AnyStaff | Audience::AsksForSecret | Audience::ChangesOwn
        )
    });
    for route in of_the_tenant {
        let answer = guest.call(route.method.clone(), &tenant.path(&route), route.body()).await;
        answer.expect_problem(403, "forbidden");
    }
    assert_eq!(guest.get("/v1/auth/me").await.expect(200)["permissions"], json!([]));
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
