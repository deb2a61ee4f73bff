//! The operators' door.

use std::time::{Duration, Instant};

use narthex::registry::people::operators::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use crate::accounts::{essence, keys_of};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn who_knows_the_password_gets_a_session_and_ends_it() {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    let session = app.operator_login(&ada.email, &ada.password, json!({})).await;
    assert_eq!(session.headers["cache-control"], "no-store");
    assert!(!session.headers.contains_key("set-cookie"), "operators have no cookies");
    let session = session.expect(200);
    assert_eq!(keys_of(&session), ["access_token", "expires_in", "operator", "token_type"]);
    assert_eq!(session["expires_in"], 8 * 3600);
    let operator = &session["operator"];
    let all =
        ["created_at", "email", "id", "last_login_at", "mfa_enabled", "name", "role", "status"];
    assert_eq!(keys_of(operator), all);
    assert_eq!(
        (&operator["email"], &operator["role"], &operator["mfa_enabled"]),
        (&json!(ada.email), &json!("admin"), &json!(false))
    );
    assert!(operator["last_login_at"].is_string());
    let me = ada.get("/v1/admin/auth/me").await.expect(200);
    assert_eq!(me["operator"]["id"], ada.id.to_string());
    assert_eq!(me["permissions"].as_array().unwrap().len(), 11);
    assert!(!me.to_string().contains("argon2"));
    // Their address lies sealed.
    let clear =
        format!("SELECT count(*) FROM operators WHERE operators::text LIKE '%{}%'", ada.email);
    assert_eq!(app.registry_count(&clear).await, 0);

    let other = ada.again().await;
    ada.call(Method::POST, "/v1/admin/auth/logout", None).await.expect(204);
    ada.get("/v1/admin/auth/me").await.expect_problem(401, "token_revoked");
    other.get("/v1/admin/auth/me").await.expect(200);
}

#[tokio::test]
async fn whoever_guesses_learns_nothing_from_the_answer_or_its_time() {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    let gone = app.operator(Role::Viewer).await;
    app.registry_execute(&format!(
        "UPDATE operators SET status = 'disabled' WHERE id = '{}'",
        gone.id
    ))
    .await;
    let staff = app.register().await;
    let before = app.registry_count("SELECT count(*) FROM audit_log").await;
    let mut seen = Vec::new();
    for (email, password) in [
        (&*ada.email, "wrong password"),
        (&*ada.email, &*"x".repeat(200)),
        (&*gone.email, &*gone.password),
        ("nobody@example.org", &*ada.password),
        ("no address", &*ada.password),
        (&*staff.email, &*staff.password),
    ] {
        let start = Instant::now();
        let answer = app.operator_login(email, password, json!({})).await;
        assert!(start.elapsed() >= Duration::from_millis(400), "{email}: {:?}", start.elapsed());
        answer.expect_problem(401, "invalid_credentials");
        seen.push(essence(answer));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!(app.registry_count("SELECT count(*) FROM audit_log").await, before);
    // And an operator is nobody at the door of the tenants.
    let body = json!({"email": ada.email, "password": ada.password});
    let refused = app.call(Method::POST, "/v1/auth/login", Some(body)).await;
    refused.expect_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn who_guesses_too_often_is_shut_out_and_nobody_of_a_tenant_with_the_same_address() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.limits.enabled = true;
        settings.limits.login = "2/15m".parse().unwrap();
    }))
    .await;
    let ada = app.operator(Role::Admin).await;
    let mut registration = app.registration();
    registration["email"] = json!(ada.email);
    app.call(Method::POST, "/v1/auth/register", Some(registration.clone())).await.expect(201);
    for _ in 0..2 {
        let answer = app.operator_login(&ada.email, "a guess", json!({})).await;
        answer.expect_problem(401, "invalid_credentials");
    }
    let refused = app.operator_login(&ada.email, &ada.password, json!({})).await;
    refused.expect_problem(429, "rate_limited");
    assert!(refused.headers.contains_key("retry-after"));
    app.operator_login("nobody@example.org", "a guess", json!({}))
        .await
        .expect_problem(401, "invalid_credentials");
    let body = json!({"email": ada.email, "password": registration["password"]});
    app.call(Method::POST, "/v1/auth/login", Some(body)).await.expect(200);
    // Guessing at the password from inside counts as well.
    let change = json!({"current_password": "a guess", "new_password": "a quite new one 7"});
    let inside = ada.post("/v1/admin/auth/password/change", change).await;
    inside.expect_problem(429, "rate_limited");
    app.clock.advance(chrono::TimeDelta::minutes(15));
    app.operator_login(&ada.email, &ada.password, json!({})).await.expect(200);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Support).await;
    let elsewhere = ada.again().await;
    let change = |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        let ada = ada.clone();
        async move { ada.post("/v1/admin/auth/password/change", body).await }
    };
    change("wrong", "a quite new one 7").await.expect_problem(401, "invalid_credentials");
    change(&ada.password, "short").await.expect_problem(422, "validation_failed");
    elsewhere.get("/v1/admin/auth/me").await.expect(200);
    change(&ada.password, "a quite new one 7").await.expect(204);
    ada.get("/v1/admin/auth/me").await.expect(200);
    elsewhere.get("/v1/admin/auth/me").await.expect_problem(401, "token_revoked");
    let old = app.operator_login(&ada.email, &ada.password, json!({})).await;
    old.expect_problem(401, "invalid_credentials");
    app.operator_login(&ada.email, "a quite new one 7", json!({})).await.expect(200);
}

/// Whoever shuts them out, or sets another password, ends the sessions that there are; this one is not there yet.
#[rstest]
#[case::shut_out("status = 'disabled'")]
#[case::another_password("password_set_at = now()")]
#[tokio::test]
async fn who_is_shut_out_while_signing_in_gets_no_session(#[case] change: &str) {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    app.registry_execute("DELETE FROM operator_sessions").await;
    let mut other = app.cluster.connect(&app.registry_database).await;
    let shut_out = format!("BEGIN; UPDATE operators SET {change}");
    sqlx::Executor::execute(&mut other, sqlx::AssertSqlSafe(shut_out)).await.unwrap();
    let signing_in = app.operator_login(&ada.email, &ada.password, json!({}));
    let committing = async {
        let waits = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
            app.registry_database
        );
        eventually("it waits", async || app.cluster.count("postgres", &waits).await == 1).await;
        sqlx::Executor::execute(&mut other, "COMMIT").await.unwrap();
    };
    let (answer, ()) = tokio::join!(signing_in, committing);
    answer.expect_problem(401, "invalid_credentials");
    assert_eq!(app.registry_count("SELECT count(*) FROM operator_sessions").await, 0);
}
