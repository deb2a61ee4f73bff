//! Good tokens whose time is over, or whose tenant is not what it was.

use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use super::in_session;
use super::login::login;
use crate::http::quiet::{quiet, send};
use crate::support::{Answer, TestApp};

#[tokio::test]
async fn a_token_expires_after_a_quarter_of_an_hour() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    staff.get("/v1/auth/me").await.expect(200);
    app.clock.advance(TimeDelta::minutes(14));
    staff.get("/v1/auth/me").await.expect(200);
    app.clock.advance(TimeDelta::minutes(1));
    // Asked twice: a token that is remembered must not live longer than one that is not.
    for _ in 0..2 {
        staff.get("/v1/auth/me").await.expect_problem(401, "token_expired");
        staff.get("/v1/members").await.expect_problem(401, "token_expired");
    }
    let body = json!({"refresh_token": staff.refresh_token});
    let pair = app.call(Method::POST, "/v1/auth/refresh", Some(body)).await.expect(200);
    in_session(&staff, &pair).get("/v1/auth/me").await.expect(200);
}

#[rstest]
#[case("suspended", 403, "tenant_suspended")]
#[case("deleted", 403, "tenant_deleted")]
#[case("purging", 403, "tenant_deleted")]
#[case("provisioning", 503, "tenant_provisioning")]
#[case("failed", 503, "tenant_failed")]
#[tokio::test]
async fn the_status_of_the_tenant_decides(
    #[case] status: &str,
    #[case] answer: u16,
    #[case] code: &str,
) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    staff.get("/v1/members").await.expect(200);
    let set = async |status: &str| {
        let sql =
            format!("UPDATE tenants SET status = '{status}' WHERE id = '{}'", staff.tenant_id);
        app.registry_execute(&sql).await;
        app.router.directory().forget(staff.tenant_id);
    };
    set(status).await;
    let new = json!({"first_name": "Ada", "phone_number": "+13125550101"});
    staff.get("/v1/auth/me").await.expect_problem(answer, code);
    staff.get("/v1/members").await.expect_problem(answer, code);
    staff.post("/v1/members", new).await.expect_problem(answer, code);
    let body = json!({"refresh_token": staff.refresh_token});
    let refreshed = app.call(Method::POST, "/v1/auth/refresh", Some(body)).await;
    refreshed.expect_problem(answer, code);
    let refused = login(&app, &staff.email, &staff.password).await;
    refused.expect_problem(401, "invalid_credentials");
    set("active").await;
    assert_eq!(staff.get("/v1/members").await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_token_of_a_tenant_that_is_gone_speaks_for_nobody() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.registry_execute(&format!("DELETE FROM tenants WHERE id = '{}'", staff.tenant_id)).await;
    app.router.directory().forget(staff.tenant_id);
    staff.get("/v1/auth/me").await.expect_problem(401, "invalid_token");
    staff.get("/v1/members").await.expect_problem(401, "invalid_token");
    let refused = login(&app, &staff.email, &staff.password).await;
    refused.expect_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn an_outdated_schema_is_not_touched() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.registry_execute("UPDATE tenants SET schema_version = 'm2000'").await;
    app.router.directory().forget(staff.tenant_id);
    staff.get("/v1/members").await.expect_problem(503, "tenant_schema_outdated");
}

async fn naming(values: &[&str]) -> Answer {
    let mut call = quiet().request(Method::GET, "/v1/auth/me");
    for value in values {
        call = call.header("x-tenant-id", *value);
    }
    send(call).await
}

#[tokio::test]
async fn a_request_may_name_its_own_tenant_and_no_other() {
    let id = quiet().tenant.tenant_id.to_string();
    let me = quiet().get("/v1/auth/me").await.expect(200);
    let slug = me["tenant"]["slug"].as_str().unwrap();
    for own in [&[&*id][..], &[slug], &[&id.to_uppercase()], &[&id, slug]] {
        naming(own).await.expect(200);
    }
    let stranger = uuid::Uuid::new_v4().to_string();
    for other in [
        &[&*stranger][..],
        &["another-church"],
        &[""],
        &["*"],
        &[&id, &stranger],
        &[&stranger, &id],
    ] {
        naming(other).await.expect_problem(403, "tenant_mismatch");
    }
}
