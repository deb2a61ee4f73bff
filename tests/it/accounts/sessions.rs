//! Where somebody is signed in: the list, ending one of them, and what is left of those that are over.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use super::in_session;
use super::login::{keys, login};
use crate::support::{Answer, Staff, TestApp, eventually};

async fn sessions(staff: &Staff) -> Vec<Value> {
    let list = staff.get("/v1/auth/sessions").await.expect(200);
    list["data"].as_array().unwrap().clone()
}

async fn login_as(app: &TestApp, staff: &Staff, user_agent: &str) -> Staff {
    let credentials = json!({"email": staff.email, "password": staff.password});
    let request = app.client.post(format!("{}/v1/auth/login", app.url)).json(&credentials);
    let answer = Answer::of(request.header("user-agent", user_agent).send().await.unwrap()).await;
    in_session(staff, &answer.expect(200))
}

#[tokio::test]
async fn everybody_sees_where_they_are_signed_in_and_can_end_it() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let owner = app.register().await;
    let phone = login_as(&app, &owner, "Phone/1.0 (\u{e9})").await;
    let list = sessions(&phone).await;
    assert_eq!(list.len(), 2);
    let names = ["created_at", "current", "id", "ip", "last_used_at", "user_agent"];
    assert_eq!(keys(&list[0]), names);
    let seen = |field: &str| list.iter().map(|one| one[field].clone()).collect::<Vec<_>>();
    assert_eq!(seen("current"), [true, false]);
    assert_eq!(seen("ip"), ["127.0.0.1", "127.0.0.1"]);
    assert_eq!(seen("user_agent"), ["Phone/1.0 (\u{e9})", "narthex/0.1.0"]);
    assert_eq!(sessions(&owner).await[1]["current"], true);

    let path = format!("/v1/auth/sessions/{}", list[0]["id"].as_str().unwrap());
    let stranger = app.register().await;
    stranger.delete(&path).await.expect_problem(404, "not_found");
    phone.get("/v1/auth/me").await.expect(200);
    phone.at(&replica).get("/v1/auth/me").await.expect(200);
    owner.delete(&path).await.expect(204);
    phone.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
    eventually("the other replica knows", async || {
        phone.at(&replica).get("/v1/auth/me").await.code() == "token_revoked"
    })
    .await;
    let body = json!({"refresh_token": phone.refresh_token});
    app.call(Method::POST, "/v1/auth/refresh", Some(body))
        .await
        .expect_problem(401, "invalid_token");
    assert_eq!(sessions(&owner).await.len(), 1);
    // Once more: it is over, and says so to nobody else.
    owner.delete(&path).await.expect(204);
    owner.delete("/v1/auth/sessions/nonsense").await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_session_tells_of_its_last_client_and_names_are_cut_short() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let long = format!("Browser/1.0\t{}", "x".repeat(400));
    let request = app.client.post(format!("{}/v1/auth/refresh", app.url));
    let request = request.json(&json!({"refresh_token": owner.refresh_token}));
    let answer = Answer::of(request.header("user-agent", &long).send().await.unwrap()).await;
    let owner = in_session(&owner, &answer.expect(200));
    let list = sessions(&owner).await;
    let name = list[0]["user_agent"].as_str().unwrap();
    assert_eq!((list.len(), name.len()), (1, 300));
    assert!(name.starts_with("Browser/1.0xxx"), "{name}");
    assert!(list[0]["last_used_at"].as_str() > list[0]["created_at"].as_str());
}

#[tokio::test]
async fn the_list_comes_in_parts() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    for _ in 0..2 {
        login(&app, &owner.email, &owner.password).await.expect(200);
    }
    let (mut path, mut seen) = ("/v1/auth/sessions?limit=1".to_owned(), Vec::new());
    loop {
        let part = owner.get(&path).await.expect(200);
        seen.push(part["data"][0]["created_at"].as_str().unwrap().to_owned());
        let Some(cursor) = part["next_cursor"].as_str() else { break };
        path = format!("/v1/auth/sessions?limit=1&cursor={cursor}");
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.is_sorted_by(|a, b| a > b), "{seen:?}");
}

#[tokio::test]
async fn what_is_long_over_is_removed_and_nothing_else() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let count = async |sql: &str| app.cluster.count(&owner.database(), sql).await;
    let ended = login_as(&app, &owner, "ended").await;
    ended.call(Method::POST, "/v1/auth/logout", None).await.expect(204);
    assert_eq!(count("SELECT count(*) FROM sessions").await, 2);
    // Used tokens stay as long as somebody could bring one, and live on in a session that lives on.
    let session = app
        .call(Method::POST, "/v1/auth/refresh", Some(json!({"refresh_token": owner.refresh_token})))
        .await
        .expect(200);
    let owner_again = in_session(&owner, &session);
    assert_eq!(count("SELECT count(*) FROM refresh_tokens WHERE used_at IS NOT NULL").await, 1);
    app.clock.advance(TimeDelta::hours(23));
    login(&app, &owner.email, &owner.password).await.expect(200);
    assert_eq!(count("SELECT count(*) FROM sessions WHERE revoked_at IS NOT NULL").await, 1);
    app.clock.advance(TimeDelta::hours(2));
    login(&app, &owner.email, &owner.password).await.expect(200);
    assert_eq!(count("SELECT count(*) FROM sessions WHERE revoked_at IS NOT NULL").await, 0);
    assert_eq!(count("SELECT count(*) FROM sessions").await, 3);
    // 29 days on the session is renewed, and two more later the token that was used first is gone.
    let mut refresh_token = owner_again.refresh_token;
    for days in [28, 3] {
        app.clock.advance(TimeDelta::days(days));
        let body = json!({"refresh_token": refresh_token});
        let session = app.call(Method::POST, "/v1/auth/refresh", Some(body)).await.expect(200);
        refresh_token = session["refresh_token"].as_str().unwrap().to_owned();
    }
    let used = "SELECT count(*) FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id
        WHERE used_at IS NOT NULL";
    assert_eq!(count(used).await, 2);
    // The other two ended by themselves a day and more ago.
    login(&app, &owner.email, &owner.password).await.expect(200);
    assert_eq!(count("SELECT count(*) FROM sessions").await, 2);
}
