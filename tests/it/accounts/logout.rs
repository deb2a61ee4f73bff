//! Signing out: here at once, on every replica within a second.

use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use super::in_session;
use super::login::login;
use crate::support::{Answer, Staff, TestApp, eventually};

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

/// What a client still has when it signs out.
#[derive(Clone, Copy, Debug)]
enum Shows {
    AccessToken,
    AccessCookie,
    RefreshToken,
    RefreshCookie,
    BothCookies,
}

async fn sign_out(app: &TestApp, staff: &Staff, shows: Shows, everywhere: bool) -> Answer {
    let request = app.client.post(format!("{}/v1/auth/logout", app.url));
    let (access, refresh) = (&staff.token, &staff.refresh_token);
    let mut body = json!({"everywhere": everywhere});
    let request = match shows {
        Shows::AccessToken => request.bearer_auth(access),
        Shows::AccessCookie => request.header("cookie", format!("narthex_access={access}")),
        Shows::RefreshCookie => request.header("cookie", format!("narthex_refresh={refresh}")),
        Shows::BothCookies => {
            request.header("cookie", format!("narthex_access={access}; narthex_refresh={refresh}"))
        }
        Shows::RefreshToken => {
            body["refresh_token"] = json!(refresh);
            request
        }
    };
    let request = request.header("sec-fetch-site", "same-origin").json(&body);
    Answer::of(request.send().await.unwrap()).await
}

fn cleared(answer: &Answer) -> usize {
    let cookies = answer.headers.get_all("set-cookie").iter();
    cookies.filter(|cookie| cookie.to_str().unwrap().contains("=; ")).count()
}

#[rstest]
#[case::access_token(Shows::AccessToken, false)]
#[case::access_cookie(Shows::AccessCookie, false)]
#[case::refresh_token(Shows::RefreshToken, false)]
#[case::refresh_cookie(Shows::RefreshCookie, false)]
#[case::both_cookies(Shows::BothCookies, false)]
#[case::everywhere(Shows::RefreshCookie, true)]
#[tokio::test]
async fn signing_out_works_after_the_access_token_has_expired_and_a_second_time(
    #[case] shows: Shows,
    #[case] everywhere: bool,
) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.clock.advance(TimeDelta::minutes(16));
    let other = again(&app, &staff).await;
    for _ in 0..2 {
        let answer = sign_out(&app, &staff, shows, everywhere).await;
        assert_eq!(cleared(&answer), 2, "{:?}", answer.headers);
        answer.expect(204);
        let body = json!({"refresh_token": staff.refresh_token});
        let refreshed = app.call(Method::POST, "/v1/auth/refresh", Some(body)).await;
        refreshed.expect_problem(401, "invalid_token");
    }
    let status = if everywhere { 401 } else { 200 };
    assert_eq!(other.get("/v1/auth/me").await.status, status);
    let name = if everywhere { "sessions.ended" } else { "session.ended" };
    let noted = format!("SELECT count(*) FROM audit_log WHERE action = '{name}'");
    let noted = app.cluster.count(&staff.database(), &noted).await;
    assert!(noted == 1 || everywhere && noted == 2, "{noted}");
}

#[tokio::test]
async fn who_shows_nothing_of_ours_is_told_so_and_nobody_is_signed_out_with_foreign_tokens() {
    let app = TestApp::start().await;
    let (staff, stranger) = (app.register().await, app.register().await);
    for forged in ["nonsense".to_owned(), format!("{}x", staff.token)] {
        let request = app.client.post(format!("{}/v1/auth/logout", app.url));
        let answer = Answer::of(request.bearer_auth(forged).send().await.unwrap()).await;
        assert_eq!(cleared(&answer), 2);
        answer.expect_problem(401, "invalid_token");
    }
    app.call(Method::POST, "/v1/auth/logout", None).await.expect_problem(401, "invalid_token");
    // The tokens of two.
    let mut mixed = staff.clone();
    mixed.token.clone_from(&stranger.token);
    let answer = sign_out(&app, &mixed, Shows::BothCookies, false).await;
    assert_eq!(cleared(&answer), 0);
    answer.expect_problem(403, "tenant_mismatch");
    staff.get("/v1/auth/me").await.expect(200);
    stranger.get("/v1/auth/me").await.expect(200);
}

/// Nobody is kept in a session because its tenant is away.
#[tokio::test]
async fn a_session_that_is_ended_while_its_tenant_is_suspended_is_over_when_it_comes_back() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let status = async |status: &str| {
        let sql =
            format!("UPDATE tenants SET status = '{status}' WHERE id = '{}'", staff.tenant_id);
        app.registry_execute(&sql).await;
        app.router.directory().forget(staff.tenant_id);
    };
    status("suspended").await;
    sign_out(&app, &staff, Shows::AccessToken, false).await.expect(204);
    status("active").await;
    staff.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
    app.clock.advance(TimeDelta::hours(1));
    let body = json!({"refresh_token": staff.refresh_token});
    let refreshed = app.call(Method::POST, "/v1/auth/refresh", Some(body)).await;
    refreshed.expect_problem(401, "invalid_token");
}

/// A token that somebody has kept ends nothing that it did not belong to, and no entry says that it did.
#[tokio::test]
async fn a_session_that_is_over_ends_no_other_one() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    staff.call(Method::POST, "/v1/auth/logout", None).await.expect(204);
    let later = again(&app, &staff).await;
    let everywhere = Some(json!({"everywhere": true}));
    staff.call(Method::POST, "/v1/auth/logout", everywhere).await.expect(204);
    later.get("/v1/auth/me").await.expect(200);
    let body = json!({"refresh_token": staff.refresh_token, "everywhere": true});
    app.call(Method::POST, "/v1/auth/logout", Some(body)).await.expect(204);
    later.get("/v1/auth/me").await.expect(200);
    let entries =
        "SELECT count(*) FROM audit_log WHERE action IN ('sessions.ended', 'session.stolen')";
    assert_eq!(app.cluster.count(&staff.database(), entries).await, 0);
}

/// A form of another site is sent without our cookies; its answer must not take them away.
#[rstest]
#[case::cross_site("sec-fetch-site", "cross-site")]
#[case::same_site("sec-fetch-site", "same-site")]
#[case::origin("origin", "https://evil.example")]
#[case::no_origin("origin", "null")]
#[tokio::test]
async fn a_page_of_another_site_signs_no_browser_out(#[case] header: &str, #[case] value: &str) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let request = || app.client.post(format!("{}/v1/auth/logout", app.url)).header(header, value);
    let answer = Answer::of(request().send().await.unwrap()).await;
    assert_eq!(cleared(&answer), 0, "{:?}", answer.headers);
    answer.expect_problem(403, "csrf_rejected");
    let cookie = format!("narthex_access={}", staff.token);
    let answer = Answer::of(request().header("cookie", cookie).send().await.unwrap()).await;
    assert_eq!(cleared(&answer), 0, "{:?}", answer.headers);
    answer.expect_problem(403, "csrf_rejected");
    staff.get("/v1/auth/me").await.expect(200);
    // Whoever has a token ends its session from where they like.
    let answer = Answer::of(request().bearer_auth(&staff.token).send().await.unwrap()).await;
    assert_eq!(cleared(&answer), 0, "{:?}", answer.headers);
    answer.expect(204);
    expect_dead(&app, &staff).await;
}
