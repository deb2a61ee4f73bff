//! Operators who look into a tenant: for a while, with a reason, seen and revocable by the tenant.

use chrono::TimeDelta;
use narthex::registry::people::operators::Role;
use rstest::rstest;
use serde_json::{Value, json};

use crate::http::quiet::snapshot;
use crate::http::routes::{Audience, Furnished, furnished_app, tenant_routes};
use crate::support::{Staff, TestApp, TestOperator, eventually};

const REASON: &str = "Ticket 4711: a member is missing";

fn path(staff: &Staff) -> String {
    format!("/v1/admin/tenants/{}/impersonate", staff.tenant_id)
}

/// As whom the operator calls from now on.
async fn let_in(operator: &TestOperator, staff: &Staff, may_write: bool) -> (Staff, Value) {
    let wanted = json!({"reason": REASON, "may_write": may_write});
    let made = operator.post(&path(staff), wanted).await.expect(200);
    (staff.with_token(made["access_token"].as_str().unwrap()), made)
}

#[tokio::test]
async fn whoever_is_let_in_reads_and_the_tenant_sees_it() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let support = app.operator(Role::Support).await;
    let (inside, made) = let_in(&support, &owner, false).await;
    assert_eq!(made["expires_in"], 15 * 60);
    inside.get("/v1/members").await.expect(200);
    let list = owner.get("/v1/tenant/impersonations").await.expect(200);
    let seen = &list["data"][0];
    assert_eq!((&seen["operator_name"], &seen["reason"]), (&json!(support.name), &json!(REASON)));
    assert_eq!((&seen["id"], &seen["may_write"]), (&made["id"], &json!(false)));
    let log = owner.get("/v1/tenant/audit-log?action=impersonation.begun").await.expect(200);
    let entry = &log["data"][0];
    assert_eq!(entry["actor"]["kind"], "operator");
    assert_eq!(entry["detail"]["reason"], REASON);
    let acts = app.audit_log("tenant.impersonated").await;
    let id = made["id"].as_str().unwrap();
    assert!(acts[0].contains(&support.name) && acts[0].contains(id), "{acts:?}");
    assert!(!acts[0].contains("4711"), "the reason may name people: {acts:?}");
}

/// On every route: what only reads is open, an account is not, and nothing is changed that an operator may not change.
#[rstest]
#[case::read_only(false, &["members:read", "conversations:read", "audit:read"])]
#[case::raised(true, &["members:read", "members:write", "conversations:read", "audit:read"])]
#[tokio::test]
async fn an_operator_inside_may_do_what_the_tenant_would_expect_and_no_more(
    #[case] may_write: bool,
    #[case] permissions: &[&str],
) {
    let app = furnished_app().await;
    let tenant = Furnished::make(&app).await;
    let admin = app.operator(Role::Admin).await;
    let (inside, _) = let_in(&admin, &tenant.staff, may_write).await;
    let before = snapshot(&app.cluster, &tenant.staff.database()).await;
    let is_open = |permission: Option<&str>| permission.is_some_and(|p| permissions.contains(&p));
    for route in tenant_routes().filter(|route| !is_open(route.permission)) {
        let answer = inside.call(route.method.clone(), &tenant.path(&route), route.body()).await;
        assert_eq!(answer.code(), "forbidden", "{} {}", route.method, route.path);
    }
    assert_eq!(snapshot(&app.cluster, &tenant.staff.database()).await, before);
    for route in tenant_routes().filter(|route| is_open(route.permission)) {
        let answer = inside.call(route.method.clone(), &tenant.path(&route), route.body()).await;
        // The tenant has been let in twice by now: the list is longer than in other walks.
        assert!(
            (200..300).contains(&answer.status),
            "{} {}: {}",
            route.method,
            route.path,
            answer.body
        );
        assert!(may_write || !matches!(route.audience, Audience::Adds | Audience::Changes));
    }
    if may_write {
        let log = "/v1/tenant/audit-log?action=member.changed";
        let log = tenant.staff.get(log).await.expect(200);
        let actor = &log["data"][0]["actor"];
        assert_eq!((&actor["kind"], &actor["name"]), (&json!("operator"), &json!(admin.name)));
    }
}

#[tokio::test]
async fn the_tenant_shuts_an_operator_out_on_every_replica() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let owner = app.register().await;
    let (inside, made) = let_in(&app.operator(Role::Support).await, &owner, false).await;
    inside.at(&replica).get("/v1/members").await.expect(200);
    let revoke = format!("/v1/tenant/impersonations/{}", made["id"].as_str().unwrap());
    owner.delete(&revoke).await.expect(204);
    inside.get("/v1/members").await.expect_problem(401, "token_revoked");
    eventually("the other replica knows", async || {
        inside.at(&replica).get("/v1/members").await.code() == "token_revoked"
    })
    .await;
    owner.delete(&revoke).await.expect(204);
    let log = owner.get("/v1/tenant/audit-log?action=impersonation.revoked").await.expect(200);
    // The second time nothing has ended.
    assert_eq!(log["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn it_ends_with_its_time_and_with_the_operator() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let (support, admin) = (app.operator(Role::Support).await, app.operator(Role::Admin).await);
    let (inside, _) = let_in(&support, &owner, false).await;
    inside.get("/v1/members").await.expect(200);
    let operator = format!("/v1/admin/operators/{}", support.id);
    admin.step_up().await;
    admin.patch(&operator, json!({"status": "disabled"})).await.expect(200);
    eventually("who is no operator any more is out", async || {
        inside.get("/v1/members").await.status == 401
    })
    .await;
    // Enabled again, what was open stays over; and signing out ends it as well.
    admin.patch(&operator, json!({"status": "active"})).await.expect(200);
    inside.get("/v1/members").await.expect_problem(401, "invalid_token");
    let support = support.again().await;
    let (inside, _) = let_in(&support, &owner, false).await;
    inside.get("/v1/members").await.expect(200);
    support.post("/v1/admin/auth/logout", json!({})).await.expect(204);
    eventually("who has signed out is out", async || inside.get("/v1/members").await.status == 401)
        .await;
    // Who is no admin any more changes nothing.
    let other = app.operator(Role::Admin).await;
    let (inside, _) = let_in(&other, &owner, true).await;
    inside.add_member("Grace", "+13125550100").await;
    let demote = json!({"role": "support"});
    admin.patch(&format!("/v1/admin/operators/{}", other.id), demote).await.expect(200);
    eventually("who was raised is no more", async || {
        let body = json!({"first_name": "Ruth", "phone_number": "+13125550101"});
        inside.post("/v1/members", body).await.code() == "forbidden"
    })
    .await;
    inside.get("/v1/members").await.expect(200);
    let (inside, _) = let_in(&admin, &owner, true).await;
    inside.get("/v1/members").await.expect(200);
    app.clock.advance(TimeDelta::minutes(16));
    inside.get("/v1/members").await.expect_problem(401, "token_expired");
}

#[rstest]
#[case::no_reason(Role::Admin, json!({}), 422)]
#[case::short_reason(Role::Admin, json!({"reason": "because"}), 422)]
#[case::too_long(Role::Admin, json!({"reason": REASON, "minutes": 61}), 422)]
#[case::no_time(Role::Admin, json!({"reason": REASON, "minutes": 0}), 422)]
#[case::not_raised(Role::Support, json!({"reason": REASON, "may_write": true}), 403)]
#[case::viewer(Role::Viewer, json!({"reason": REASON}), 403)]
#[tokio::test]
async fn nobody_is_let_in_without_a_reason_or_the_right(
    #[case] role: Role,
    #[case] wanted: Value,
    #[case] status: u16,
) {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let answer = app.operator(role).await.post(&path(&owner), wanted).await;
    assert_eq!(answer.status, status, "{}", answer.body);
    let there = app.cluster.count(&owner.database(), "SELECT count(*) FROM impersonations").await;
    assert_eq!(there, 0);
}

/// Neither is the token of the one good for the other, nor for another tenant.
#[tokio::test]
async fn the_token_is_good_inside_that_tenant_alone() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    let (inside, _) = let_in(&app.operator(Role::Admin).await, &a, true).await;
    inside.get("/v1/admin/tenants").await.expect_problem(401, "invalid_token");
    let member = b.add_member("Grace", "+13125550100").await;
    let theirs = format!("/v1/members/{}", member["id"].as_str().unwrap());
    inside.get(&theirs).await.expect_problem(404, "not_found");
    inside.get("/v1/auth/me").await.expect_problem(403, "forbidden");
}
