//! Refresh tokens: good once, and again for a moment; whoever brings one later ends the session.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use super::in_session;
use super::login::{keys, login};
use crate::http::quiet::{quiet, send};
use crate::support::{Answer, TestApp};

async fn refresh(app: &TestApp, token: &str) -> Answer {
    app.call(Method::POST, "/v1/auth/refresh", Some(json!({"refresh_token": token}))).await
}

#[tokio::test]
async fn a_refresh_token_brings_a_new_pair_and_that_the_next() {
    let app = TestApp::start().await;
    let mut staff = app.register().await;
    for _ in 0..3 {
        let pair = refresh(&app, &staff.refresh_token).await.expect(200);
        let all = ["access_token", "expires_in", "refresh_token", "tenant", "token_type", "user"];
        assert_eq!(keys(&pair), all);
        let next = in_session(&staff, &pair);
        assert!(next.token != staff.token && next.refresh_token != staff.refresh_token);
        next.get("/v1/auth/me").await.expect(200);
        staff.get("/v1/auth/me").await.expect(200);
        staff = next;
    }
}

#[tokio::test]
async fn a_used_refresh_token_ends_the_whole_session_and_no_other() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let elsewhere = login(&app, &staff.email, &staff.password).await.expect(200);
    let elsewhere = in_session(&staff, &elsewhere);
    let next = in_session(&staff, &refresh(&app, &staff.refresh_token).await.expect(200));
    app.clock.advance(TimeDelta::seconds(11));
    refresh(&app, &staff.refresh_token).await.expect_problem(401, "invalid_token");
    for dead in [&staff, &next] {
        dead.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
        refresh(&app, &dead.refresh_token).await.expect_problem(401, "invalid_token");
    }
    elsewhere.get("/v1/auth/me").await.expect(200);
    refresh(&app, &elsewhere.refresh_token).await.expect(200);
}

#[tokio::test]
async fn two_tabs_that_refresh_at_once_get_one_successor_and_a_lost_answer_is_given_again() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let staff = app.register().await;
    let (one, other) =
        tokio::join!(refresh(&app, &staff.refresh_token), refresh(&app, &staff.refresh_token));
    let (one, other) = (one.expect(200), other.expect(200));
    app.clock.advance(TimeDelta::seconds(9));
    let body = json!({"refresh_token": staff.refresh_token});
    let again = replica.call(Method::POST, "/v1/auth/refresh", Some(body)).await.expect(200);
    for pair in [&other, &again] {
        assert_eq!(pair["refresh_token"], one["refresh_token"]);
        in_session(&staff, pair).get("/v1/auth/me").await.expect(200);
    }
    let alive = "SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL";
    assert_eq!(app.cluster.count(&staff.database(), alive).await, 1);
    let next = in_session(&staff, &refresh(&app, &text(&one)).await.expect(200));
    next.get("/v1/auth/me").await.expect(200);
}

fn text(pair: &Value) -> String {
    pair["refresh_token"].as_str().unwrap().to_owned()
}

/// Whoever holds the successor has used it: the one who still brings the older token is somebody else.
#[tokio::test]
async fn once_the_successor_was_used_the_older_token_ends_the_session_at_once() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let next = in_session(&staff, &refresh(&app, &staff.refresh_token).await.expect(200));
    let last = in_session(&staff, &refresh(&app, &next.refresh_token).await.expect(200));
    refresh(&app, &staff.refresh_token).await.expect_problem(401, "invalid_token");
    for dead in [&staff, &next, &last] {
        dead.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
        refresh(&app, &dead.refresh_token).await.expect_problem(401, "invalid_token");
    }
}

/// The window is for those who go on; it brings nobody back.
#[tokio::test]
async fn a_used_token_brings_nothing_after_its_session_was_ended() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let next = in_session(&staff, &refresh(&app, &staff.refresh_token).await.expect(200));
    next.call(Method::POST, "/v1/auth/logout", None).await.expect(204);
    refresh(&app, &staff.refresh_token).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_refresh_token_altered_to_name_another_tenant_is_unknown_there() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    let mut bytes = URL_SAFE_NO_PAD.decode(&a.refresh_token).unwrap();
    bytes[..16].copy_from_slice(b.tenant_id.0.as_bytes());
    let altered = URL_SAFE_NO_PAD.encode(&bytes);
    refresh(&app, &altered).await.expect_problem(401, "invalid_token");
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    let nobodys = URL_SAFE_NO_PAD.encode(&bytes);
    refresh(&app, &nobodys).await.expect_problem(401, "invalid_token");
    // Nobody's session suffers from the attempts.
    refresh(&app, &a.refresh_token).await.expect(200);
    refresh(&app, &b.refresh_token).await.expect(200);
}

#[tokio::test]
async fn a_refresh_token_lasts_thirty_days_from_its_last_use() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.clock.advance(TimeDelta::days(29));
    let next = in_session(&staff, &refresh(&app, &staff.refresh_token).await.expect(200));
    app.clock.advance(TimeDelta::days(29));
    let next = in_session(&staff, &refresh(&app, &next.refresh_token).await.expect(200));
    app.clock.advance(TimeDelta::days(31));
    refresh(&app, &next.refresh_token).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn who_was_disabled_gets_no_new_pair() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.cluster.execute(&staff.database(), "UPDATE staff SET status = 'disabled'").await;
    refresh(&app, &staff.refresh_token).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_new_pair_carries_the_role_of_today() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.cluster.execute(&staff.database(), "UPDATE staff SET role = 'viewer'").await;
    let pair = refresh(&app, &staff.refresh_token).await.expect(200);
    let viewer = in_session(&staff, &pair);
    viewer.post("/v1/branches", json!({"name": "North"})).await.expect_problem(403, "forbidden");
}

#[rstest]
#[case(json!({"refresh_token": "garbage"}), 401)]
#[case(json!({"refresh_token": "x".repeat(200)}), 401)]
#[case(json!({"refresh_token": URL_SAFE_NO_PAD.encode([0; 48])}), 401)]
#[case(json!({"refresh_token": URL_SAFE_NO_PAD.encode([0; 49])}), 401)]
#[case(json!({"refresh_token": "ümläüt"}), 401)]
#[case(json!({"refresh_token": "x".repeat(201)}), 422)]
#[case(json!({"refresh_token": ""}), 422)]
#[case(json!({}), 422)]
#[case(json!({"refresh_token": null}), 422)]
#[case(json!({"refresh_token": "a\0"}), 422)]
#[case(json!({"refresh_token": 7}), 422)]
#[tokio::test]
async fn what_is_no_refresh_token_is_refused(#[case] body: Value, #[case] status: u16) {
    let answer = send(quiet().anonymous(Method::POST, "/v1/auth/refresh").json(&body)).await;
    let code = if status == 401 { "invalid_token" } else { "validation_failed" };
    answer.expect_problem(status, code);
    quiet().expect_untouched().await;
}

#[tokio::test]
async fn an_access_token_is_no_refresh_token_and_the_other_way_round() {
    let staff = &quiet().tenant;
    let body = json!({"refresh_token": quiet().token[..200].to_owned()});
    let answer = send(quiet().anonymous(Method::POST, "/v1/auth/refresh").json(&body)).await;
    answer.expect_problem(401, "invalid_token");
    let call = quiet().anonymous(Method::GET, "/v1/auth/me").bearer_auth(&staff.refresh_token);
    send(call).await.expect_problem(401, "invalid_token");
}
