//! Signing in: the right way, and what those see who guess.

use std::time::{Duration, Instant};

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use super::in_session;
use crate::http::quiet::{quiet, send};
use crate::support::{Answer, Staff, TestApp, eventually};

pub async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    let credentials = json!({"email": email, "password": password});
    app.call(Method::POST, "/v1/auth/login", Some(credentials)).await
}

pub fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn who_knows_the_password_gets_a_session() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let before = app.clock.now();
    let session = login(&app, &staff.email, &staff.password).await.expect(200);
    let all = ["access_token", "expires_in", "refresh_token", "tenant", "token_type", "user"];
    assert_eq!(keys(&session), all);
    assert_eq!(session["user"]["id"], staff.user_id.to_string());
    assert_eq!(session["tenant"]["id"], staff.tenant_id.to_string());
    let at: chrono::DateTime<chrono::Utc> =
        session["user"]["last_login_at"].as_str().unwrap().parse().unwrap();
    assert!(at >= before && at <= app.clock.now());

    let again = in_session(&staff, &session);
    assert_ne!(again.token, staff.token);
    let me = again.get("/v1/auth/me").await.expect(200);
    assert_eq!(
        keys(&me),
        ["email_verified", "mfa_enrollment_required", "permissions", "tenant", "user"]
    );
    assert_eq!((&me["user"], &me["tenant"]), (&session["user"], &session["tenant"]));
    assert!(me["permissions"].as_array().unwrap().contains(&json!("members:write")));
    assert!(!me.to_string().contains("argon2"), "the password's hash is nobody's business");
}

#[rstest]
#[case(|email: &str| email.to_uppercase())]
#[case(|email: &str| format!("  {email}\n"))]
#[case(|email: &str| email.replace("example", "ExAmPlE"))]
#[tokio::test]
async fn an_address_is_the_same_however_it_is_written(#[case] written: fn(&str) -> String) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let session = login(&app, &written(&staff.email), &staff.password).await.expect(200);
    assert_eq!(session["user"]["email"], staff.email);
}

/// What is left of an answer without what differs from answer to answer.
pub fn essence(mut answer: Answer) -> (u16, Vec<String>, Value) {
    answer.body["request_id"] = Value::Null;
    let own = ["x-request-id", "date"];
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .map(|(name, value)| {
            let value = if own.contains(&name.as_str()) { "" } else { value.to_str().unwrap() };
            format!("{name}: {value}")
        })
        .collect();
    headers.sort();
    (answer.status, headers, answer.body)
}

#[tokio::test]
async fn whoever_guesses_learns_nothing_from_the_answer_or_its_time() {
    let staff = &quiet().tenant;
    let guesses = [
        (staff.email.as_str(), "wrong password"),
        (staff.email.as_str(), "x"),
        (staff.email.as_str(), &*format!("{} ", staff.password)),
        (staff.email.as_str(), &*"x".repeat(200)),
        ("nobody@example.org", staff.password.as_str()),
        ("no address", staff.password.as_str()),
        ("a@b@c", "x"),
    ];
    let mut seen = Vec::new();
    for (email, password) in guesses {
        let start = Instant::now();
        let call = quiet().anonymous(Method::POST, "/v1/auth/login");
        let answer = send(call.json(&json!({"email": email, "password": password}))).await;
        // A failure is padded to this, so that the look-up of a known address does not show.
        let padded = Duration::from_millis(400);
        assert!(start.elapsed() >= padded, "{email} took {:?}", start.elapsed());
        answer.expect_problem(401, "invalid_credentials");
        seen.push(essence(answer));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    quiet().expect_untouched().await;
}

#[tokio::test]
async fn an_address_whose_tenant_is_away_is_answered_like_one_that_nobody_has() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let allow = async |allowed: bool| {
        let sql = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", staff.database());
        app.cluster.execute("postgres", &sql).await;
    };
    app.router.close();
    allow(false).await;
    let mut seen = Vec::new();
    for (email, password) in [
        (&*staff.email, &*staff.password),
        (&staff.email, "wrong password"),
        ("nobody@example.org", "wrong password"),
    ] {
        let (start, before) = (Instant::now(), app.accounts.hasher().hashes());
        let answer = login(&app, email, password).await;
        assert!(start.elapsed() >= Duration::from_millis(400), "{email}: {:?}", start.elapsed());
        assert_eq!(app.accounts.hasher().hashes() - before, 1, "{email}");
        answer.expect_problem(401, "invalid_credentials");
        seen.push(essence(answer));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    allow(true).await;
    eventually("they can sign in again", async || {
        login(&app, &staff.email, &staff.password).await.status == 200
    })
    .await;
}

/// However a sign-in fails, it costs one hash, so that the work tells nobody who there is.
#[tokio::test]
async fn every_failed_sign_in_costs_the_same_hashes() {
    let app = TestApp::start().await;
    let (owner, disabled) = (app.register().await, app.register().await);
    app.cluster.execute(&disabled.database(), "UPDATE staff SET status = 'disabled'").await;
    for email in [&*owner.email, &disabled.email, "nobody@example.org", "no address"] {
        let before = app.accounts.hasher().hashes();
        login(&app, email, "a wrong password").await.expect_problem(401, "invalid_credentials");
        assert_eq!(app.accounts.hasher().hashes() - before, 1, "{email}");
    }
}

/// Whoever shuts them out, or sets another password, ends the sessions that there are; this one is not there yet.
#[rstest]
#[case::shut_out("status = 'disabled'")]
#[case::another_password("password_hash = 'another', password_set_at = now()")]
#[tokio::test]
async fn who_is_shut_out_while_signing_in_gets_no_session(#[case] change: &str) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let database = staff.database();
    app.cluster.execute(&database, "DELETE FROM sessions").await;
    let mut administrator = app.cluster.connect(&database).await;
    let shut_out = format!("BEGIN; UPDATE staff SET {change}");
    sqlx::Executor::execute(&mut administrator, sqlx::AssertSqlSafe(shut_out)).await.unwrap();
    let signing_in = login(&app, &staff.email, &staff.password);
    let committing = async {
        let waits = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'"
        );
        eventually("it waits", async || app.cluster.count("postgres", &waits).await == 1).await;
        sqlx::Executor::execute(&mut administrator, "COMMIT").await.unwrap();
    };
    let (answer, ()) = tokio::join!(signing_in, committing);
    answer.expect_problem(401, "invalid_credentials");
    assert_eq!(app.cluster.count(&database, "SELECT count(*) FROM sessions").await, 0);
}

#[tokio::test]
async fn a_disabled_account_is_answered_like_a_wrong_password() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let guess = essence(login(&app, &staff.email, "wrong password").await);
    app.cluster.execute(&staff.database(), "UPDATE staff SET status = 'disabled'").await;
    assert_eq!(essence(login(&app, &staff.email, &staff.password).await), guess);
    let me = staff.get("/v1/auth/me").await;
    me.expect_problem(401, "invalid_token");
}

#[rstest]
#[case(json!({}), &["email: required", "password: required"])]
#[case(json!({"email": "", "password": ""}), &["email: required", "password: required"])]
#[case(json!({"email": 1, "password": []}), &["email: invalid_type", "password: invalid_type"])]
#[case(json!({"email": "a@example.org", "password": "x".repeat(1025)}), &["password: too_long"])]
#[case(json!({"email": "a\0@example.org", "password": "x\0"}), &["email: nul_character", "password: nul_character"])]
#[tokio::test]
async fn credentials_without_form_are_refused(#[case] body: Value, #[case] faults: &[&str]) {
    let call = quiet().anonymous(Method::POST, "/v1/auth/login").json(&body);
    let answer = send(call).await;
    answer.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), faults);
    quiet().expect_untouched().await;
}

/// Makes somebody staff of a second tenant, with a password of their own there.
pub async fn join(app: &TestApp, staff: &Staff, other: &Staff, same_password: bool) {
    let sql = "SELECT password_hash FROM staff";
    let from = if same_password { staff } else { other };
    let hash = app.cluster.texts(&from.database(), sql).await.remove(0);
    let sql = format!(
        "INSERT INTO staff (id, email, password_hash, first_name, last_name, role, created_at, updated_at)
         VALUES (gen_random_uuid(), '{}', '{hash}', 'Ada', 'Lovelace', 'viewer', now(), now())",
        staff.email
    );
    app.cluster.execute(&other.database(), &sql).await;
    app.registry_execute(&format!(
        "INSERT INTO email_index (email_hash, tenant_id, created_at)
         SELECT email_hash, '{}', now() FROM email_index WHERE tenant_id = '{}'",
        other.tenant_id, staff.tenant_id
    ))
    .await;
}

#[tokio::test]
async fn who_is_staff_of_two_tenants_chooses_one() {
    let app = TestApp::start().await;
    let (staff, other) = (app.register().await, app.register().await);
    join(&app, &staff, &other, true).await;
    let answer = login(&app, &staff.email, &staff.password).await;
    answer.expect_problem(409, "tenant_selection_required");
    let choices = answer.body["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 2);
    for (choice, tenant) in choices.iter().zip([&staff, &other]) {
        let body =
            json!({"email": staff.email, "password": staff.password, "tenant": choice["slug"]});
        let session = app.call(Method::POST, "/v1/auth/login", Some(body)).await.expect(200);
        assert_eq!(session["tenant"]["id"], tenant.tenant_id.to_string());
    }
    let nowhere = json!({"email": staff.email, "password": staff.password, "tenant": "nowhere"});
    let refused = app.call(Method::POST, "/v1/auth/login", Some(nowhere)).await;
    refused.expect_problem(401, "invalid_credentials");
    // The choices are for those who have proved who they are.
    login(&app, &staff.email, "wrong password").await.expect_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn different_passwords_at_two_tenants_choose_by_themselves() {
    let app = TestApp::start().await;
    let (staff, other) = (app.register().await, app.register().await);
    join(&app, &staff, &other, false).await;
    for (password, tenant) in [(&staff.password, &staff), (&other.password, &other)] {
        let session = login(&app, &staff.email, password).await.expect(200);
        assert_eq!(session["tenant"]["id"], tenant.tenant_id.to_string());
    }
}
