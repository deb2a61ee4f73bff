//! Signing out: here at once, on every replica within a second.

use reqwest::Method;
use serde_json::json;

use super::in_session;
use super::login::login;
use crate::support::{Staff, TestApp, eventually};

async fn again(app: &TestApp, staff: &Staff) -> Staff {
    let session = login(app, &staff.email, &staff.password).await.expect(200);
    in_session(staff, &session)
}

async fn expect_dead(app: &TestApp, staff: &Staff) {
    staff.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
    staff.get("/v1/members").await.expect_problem(401, "token_revoked");
    let body = json!({"refresh_token": staff.refresh_token});
    let refreshed = app.call(Method::POST, "/v1/auth/refresh", Some(body)).await;
    refreshed.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn signing_out_ends_this_session_here_at_once_and_elsewhere_soon() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let staff = app.register().await;
    let other = again(&app, &staff).await;
    // The other replica knows the token well.
    staff.at(&replica).get("/v1/auth/me").await.expect(200);

    let answer = staff.call(Method::POST, "/v1/auth/logout", None).await;
    assert!(answer.bytes.is_empty());
    answer.expect(204);
    expect_dead(&app, &staff).await;
    eventually("the other replica knows", async || {
        staff.at(&replica).get("/v1/auth/me").await.code() == "token_revoked"
    })
    .await;
    other.get("/v1/auth/me").await.expect(200);
    other.at(&replica).get("/v1/auth/me").await.expect(200);
    // A replica that starts later knows as well.
    let late = app.replica().await;
    staff.at(&late).get("/v1/auth/me").await.expect_problem(401, "token_revoked");
}

#[tokio::test]
async fn signing_out_everywhere_ends_all_sessions_of_the_person_and_of_nobody_else() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let staff = app.register().await;
    let stranger = app.register().await;
    let others = [again(&app, &staff).await, again(&app, &staff).await];
    let body = Some(json!({"everywhere": true}));
    others[0].call(Method::POST, "/v1/auth/logout", body).await.expect(204);
    for session in [&staff, &others[0], &others[1]] {
        expect_dead(&app, session).await;
        eventually("the other replica knows", async || {
            session.at(&replica).get("/v1/auth/me").await.code() == "token_revoked"
        })
        .await;
    }
    stranger.get("/v1/auth/me").await.expect(200);
    again(&app, &staff).await.get("/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn signing_out_takes_an_empty_body_an_empty_object_and_a_plain_no() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    for body in [
        None,
        Some(json!({})),
        Some(json!({"everywhere": false})),
        Some(json!({"everywhere": null})),
    ] {
        let session = again(&app, &staff).await;
        session.call(Method::POST, "/v1/auth/logout", body).await.expect(204);
        expect_dead(&app, &session).await;
        staff.get("/v1/auth/me").await.expect(200);
    }
}

#[tokio::test]
async fn who_has_signed_out_cannot_sign_out_again() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    staff.call(Method::POST, "/v1/auth/logout", None).await.expect(204);
    let again = staff.call(Method::POST, "/v1/auth/logout", None).await;
    again.expect_problem(401, "token_revoked");
}
