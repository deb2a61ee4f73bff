//! Keys of a tenant's own programs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Staff, TestApp, eventually};

/// The tenant's own, as a caller with this key.
fn with_key(staff: &Staff, made: &Value) -> Staff {
    staff.with_token(made["secret"].as_str().unwrap())
}

async fn make(owner: &Staff, permissions: &[&str]) -> Value {
    owner.step_up().await;
    let wanted = json!({"name": "Website", "permissions": permissions});
    owner.post("/v1/api-keys", wanted).await.expect(201)
}

#[tokio::test]
async fn a_program_may_do_what_its_key_says_and_has_no_account() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let made = make(&owner, &["members:read", "members:write"]).await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("nxk_") && secret.ends_with(made["hint"].as_str().unwrap()));
    let program = with_key(&owner, &made);
    program.add_member("Grace", "+13125550100").await;
    program.get("/v1/members").await.expect(200);
    program.get("/v1/conversations").await.expect_problem(403, "forbidden");
    program.get("/v1/auth/me").await.expect_problem(403, "forbidden");
    program.post("/v1/auth/logout", json!({})).await.expect_problem(403, "forbidden");
    let list = owner.get("/v1/api-keys").await.expect(200);
    let shown = &list["data"][0];
    assert!(shown["last_used_at"].is_string() && shown["last_used_ip"] == "127.0.0.1", "{shown}");
    assert!(shown.get("secret").is_none(), "it is shown once");
    for database in [owner.database(), app.registry_database.clone()] {
        assert!(!app.cluster.holds(&database, secret).await);
    }
    let entries = owner.get("/v1/tenant/audit-log?action=member.created").await.expect(200);
    let actor = &entries["data"][0]["actor"];
    assert_eq!((&actor["kind"], &actor["name"]), (&json!("api_key"), &json!("Website")));
}

#[tokio::test]
async fn a_key_that_is_taken_back_is_good_nowhere() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let owner = app.register().await;
    let made = make(&owner, &["members:read"]).await;
    let program = with_key(&owner, &made);
    program.get("/v1/members").await.expect(200);
    program.at(&replica).get("/v1/members").await.expect(200);
    let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
    owner.delete(&path).await.expect(204);
    program.get("/v1/members").await.expect_problem(401, "token_revoked");
    eventually("the other replica knows", async || {
        program.at(&replica).get("/v1/members").await.status == 401
    })
    .await;
    // Again changes nothing.
    owner.delete(&path).await.expect(204);
    owner.delete(&format!("/v1/api-keys/{}", owner.user_id)).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_key_has_an_end() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let end = app.clock.now() + TimeDelta::hours(1);
    let wanted = json!({"name": "Import", "permissions": ["members:read"], "expires_at": end});
    let program = with_key(&owner, &owner.post("/v1/api-keys", wanted).await.expect(201));
    program.get("/v1/members").await.expect(200);
    app.clock.advance(TimeDelta::hours(2));
    eventually("it is over", async || program.get("/v1/members").await.status == 401).await;
}

#[rstest]
#[case::none(json!({"name": "x", "permissions": []}), 422)]
#[case::unknown(json!({"name": "x", "permissions": ["all"]}), 422)]
#[case::no_name(json!({"permissions": ["members:read"]}), 422)]
#[case::no_time(json!({"name": "x", "permissions": ["members:read"], "expires_at": "soon"}), 422)]
#[case::late(json!({"name": "x", "permissions": ["members:read"], "expires_at": "+262142-01-01T00:00:00Z"}), 422)]
#[case::over(json!({"name": "x", "permissions": ["members:read"], "expires_at": "2026-01-01T00:00:00Z"}), 422)]
#[case::beyond(json!({"name": "x", "permissions": ["export:run"]}), 403)]
#[tokio::test]
async fn a_key_is_no_more_than_its_maker(#[case] wanted: Value, #[case] status: u16) {
    let app = TestApp::start().await;
    let owner = app.register().await;
    owner.step_up().await;
    // A key that may make keys makes none that may do more.
    let program = with_key(&owner, &make(&owner, &["tenant:manage", "members:read"]).await);
    let answer = program.post("/v1/api-keys", wanted).await;
    assert_eq!(answer.status, status, "{}", answer.body);
}

/// A key names its tenant; one that was altered, or made up, is refused before anybody's database is asked.
#[tokio::test]
async fn a_forged_key_costs_nothing() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    let secret = make(&a, &["members:read"]).await["secret"].as_str().unwrap().to_owned();
    let bytes = URL_SAFE_NO_PAD.decode(secret.trim_start_matches("nxk_")).unwrap();
    let mut forged = vec!["nxk_".to_owned(), format!("{secret}A"), secret.replace("nxk_", "nxk-")];
    for position in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[position] ^= 1;
        forged.push(format!("nxk_{}", URL_SAFE_NO_PAD.encode(altered)));
    }
    let mut of_another = bytes.clone();
    of_another[..16].copy_from_slice(b.tenant_id.0.as_bytes());
    forged.push(format!("nxk_{}", URL_SAFE_NO_PAD.encode(of_another)));
    // No tenant's pool is open there yet.
    let replica = app.replica().await;
    for token in forged {
        let forger = a.with_token(&token).at(&replica);
        forger.get("/v1/members").await.expect_problem(401, "invalid_token");
    }
    assert_eq!(replica.router.statistics().open, 0, "somebody's database was asked");
    let caller = a.with_token(&secret);
    caller.get("/v1/members").await.expect(200);
    // It is the key of one tenant, whatever else the request names.
    let request = app.client.request(Method::GET, format!("{}/v1/members", app.url));
    let request = request.bearer_auth(&caller.token).header("x-tenant-id", b.tenant_id.to_string());
    crate::support::Answer::of(request.send().await.unwrap())
        .await
        .expect_problem(403, "tenant_mismatch");
}
