//! Forgetting a password, changing it, and which ones are refused.

use chrono::TimeDelta;
use narthex::configuration::Argon2Settings;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use super::in_session;
use super::login::{essence, login};
use crate::support::{Answer, MailServer, Staff, TestApp, eventually};

async fn forgot(app: &TestApp, email: &str) -> Answer {
    let body = json!({"email": email});
    app.call(Method::POST, "/v1/auth/password/forgot", Some(body)).await
}

async fn reset(app: &TestApp, token: &str, password: &str) -> Answer {
    let body = json!({"token": token, "password": password});
    app.call(Method::POST, "/v1/auth/password/reset", Some(body)).await
}

/// An owner whose address is proven: the next letter is the one that is asked for.
async fn verified(app: &TestApp, mail: &MailServer) -> Staff {
    let owner = app.register().await;
    let letter = mail.letter(&owner.email, 1).await;
    let body = json!({"token": letter.token()});
    app.call(Method::POST, "/v1/auth/email/verify", Some(body)).await.expect(204);
    owner
}

#[tokio::test]
async fn whoever_forgets_a_password_gets_a_letter_and_sets_a_new_one() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let replica = app.replica().await;
    let owner = verified(&app, &mail).await;
    owner.at(&replica).get("/v1/auth/me").await.expect(200);
    forgot(&app, &owner.email).await.expect(202);
    let letter = mail.letter(&owner.email, 2).await;
    assert!(letter.subject.contains("new password"), "{letter:?}");
    assert!(letter.text.contains("http://127.0.0.1:1/reset-password?token="), "{letter:?}");
    let token = letter.token();
    // Neither the token nor the password stands anywhere.
    assert!(!app.cluster.holds(&owner.database(), &token).await);

    // A password that is refused does not use the token up.
    reset(&app, &token, "short").await.expect_problem(422, "validation_failed");
    reset(&app, &token, "a quite new password 7").await.expect(204);
    reset(&app, &token, "a quite new password 8").await.expect_problem(401, "invalid_token");
    login(&app, &owner.email, &owner.password).await.expect_problem(401, "invalid_credentials");
    login(&app, &owner.email, "a quite new password 7").await.expect(200);
    // Whoever was in with the old one is out.
    owner.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
    let body = json!({"refresh_token": owner.refresh_token});
    app.call(Method::POST, "/v1/auth/refresh", Some(body))
        .await
        .expect_problem(401, "invalid_token");
    eventually("the other replica knows", async || {
        owner.at(&replica).get("/v1/auth/me").await.code() == "token_revoked"
    })
    .await;
}

#[tokio::test]
async fn the_answer_tells_nobody_who_there_is() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app, &mail).await;
    let mut answers = Vec::new();
    for email in [&*owner.email, "nobody@example.org", "no address"] {
        answers.push(essence(forgot(&app, email).await));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    mail.letter(&owner.email, 2).await;
    assert!(mail.letters_to("nobody@example.org").is_empty());
}

#[tokio::test]
async fn a_token_is_good_for_an_hour_for_one_thing_and_only_the_last_one() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = app.register().await;
    let verification = mail.letter(&owner.email, 1).await.token();
    let refused = async |token: &str| {
        let answer = reset(&app, token, "a quite new password 7").await;
        answer.expect_problem(401, "invalid_token");
    };
    refused(&verification).await;
    forgot(&app, &owner.email).await.expect(202);
    let first = mail.letter(&owner.email, 2).await.token();
    forgot(&app, &owner.email).await.expect(202);
    let second = mail.letter(&owner.email, 3).await.token();
    refused(&first).await;
    let body = Some(json!({"token": second}));
    let other = app.call(Method::POST, "/v1/auth/email/verify", body).await;
    other.expect_problem(401, "invalid_token");
    // Another tenant in it: nobody has ever heard of it there.
    let stranger = app.register().await;
    let forged = forge(&second, &stranger);
    refused(&forged).await;
    for nonsense in ["", "x", "AAAA", &"A".repeat(200)] {
        let answer = reset(&app, nonsense, "a quite new password 7").await;
        assert!([401, 422].contains(&answer.status), "{nonsense}: {}", answer.body);
    }
    app.clock.advance(TimeDelta::minutes(61));
    refused(&second).await;
    login(&app, &owner.email, &owner.password).await.expect(200);
}

/// The same secret, in the name of another tenant.
fn forge(token: &str, stranger: &Staff) -> String {
    use base64::Engine;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut bytes = engine.decode(token).unwrap();
    bytes[..16].copy_from_slice(stranger.tenant_id.0.as_bytes());
    engine.encode(bytes)
}

#[tokio::test]
async fn of_many_who_bring_one_token_at_once_one_sets_the_password() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app, &mail).await;
    forgot(&app, &owner.email).await.expect(202);
    let token = mail.letter(&owner.email, 2).await.token();
    let passwords: Vec<_> = (0..8).map(|n| format!("a quite new password {n}")).collect();
    let answers = passwords.iter().map(|password| reset(&app, &token, password));
    let answers = futures_util::future::join_all(answers).await;
    let winners: Vec<_> = (0..8).filter(|n| answers[*n].status == 204).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    login(&app, &owner.email, &passwords[winners[0]]).await.expect(200);
}

#[tokio::test]
async fn letters_are_not_sent_without_end() {
    let mail = MailServer::start().await;
    let used = mail.used();
    let app = TestApp::start_with(Box::new(move |settings| {
        used(settings);
        settings.limits.enabled = true;
        settings.limits.letters = "2/1h".parse().unwrap();
    }))
    .await;
    let owner = verified(&app, &mail).await;
    for _ in 0..4 {
        forgot(&app, &owner.email).await.expect(202);
    }
    mail.letter(&owner.email, 3).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(mail.letters_to(&owner.email).len(), 3);
}

#[tokio::test]
async fn a_mail_server_that_is_busy_is_tried_again() {
    let mail = MailServer::start().await;
    mail.refuse(1);
    let app = TestApp::start_with(mail.used()).await;
    let owner = app.register().await;
    mail.letter(&owner.email, 1).await;
}

#[tokio::test]
async fn whoever_knows_the_password_changes_it_and_stays_signed_in_here_alone() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let session = login(&app, &owner.email, &owner.password).await.expect(200);
    let other = in_session(&owner, &session);
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        owner.post("/v1/auth/password/change", body).await
    };
    change("a wrong password", "a quite new password 7")
        .await
        .expect_problem(401, "invalid_credentials");
    other.get("/v1/auth/me").await.expect(200);
    change(&owner.password, "a quite new password 7").await.expect(204);
    owner.get("/v1/auth/me").await.expect(200);
    other.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
    login(&app, &owner.email, &owner.password).await.expect_problem(401, "invalid_credentials");
    login(&app, &owner.email, "a quite new password 7").await.expect(200);
}

/// Somebody who knows the old password is just changing it when its owner sets a new one by letter.
#[tokio::test]
async fn a_change_does_not_take_the_place_of_a_password_that_was_set_meanwhile() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let database = owner.database();
    let mut reset = app.cluster.connect(&database).await;
    let set = "BEGIN; UPDATE staff SET password_hash = 'of the owner', password_set_at = now()";
    sqlx::Executor::execute(&mut reset, set).await.unwrap();
    let body =
        json!({"current_password": owner.password, "new_password": "a quite new password 7"});
    let changing = owner.post("/v1/auth/password/change", body);
    let committing = async {
        let waits = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'"
        );
        eventually("it waits", async || app.cluster.count("postgres", &waits).await == 1).await;
        sqlx::Executor::execute(&mut reset, "COMMIT").await.unwrap();
    };
    let (answer, ()) = tokio::join!(changing, committing);
    answer.expect_problem(401, "invalid_credentials");
    let hash = app.cluster.texts(&database, "SELECT password_hash FROM staff").await;
    assert_eq!(hash, ["of the owner"]);
}

#[tokio::test]
async fn whoever_has_stolen_a_token_cannot_guess_the_password_with_it() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.limits.enabled = true;
        settings.limits.login = "3/15m".parse().unwrap();
    }))
    .await;
    let owner = app.register().await;
    for n in 0..5 {
        let body = json!({"current_password": format!("guess {n}"), "new_password": "a quite new password 7"});
        let answer = owner.post("/v1/auth/password/change", body).await;
        match n {
            0..3 => answer.expect_problem(401, "invalid_credentials"),
            _ => answer.expect_problem(429, "rate_limited"),
        }
    }
}

#[rstest]
#[case("password1234", "too_common")]
#[case("qwertyuiop", "too_common")]
#[case("aaaaaaaaaaaaaaaa", "too_common")]
#[case("1234567890", "too_common")]
#[case("adalovelace", "too_common")]
#[case("short", "too_short")]
#[case("", "required")]
#[tokio::test]
async fn a_password_that_anybody_would_try_is_refused(#[case] password: &str, #[case] fault: &str) {
    let app = TestApp::start().await;
    let mut registration = app.registration();
    registration["password"] = json!(password);
    let answer = app.call(Method::POST, "/v1/auth/register", Some(registration)).await;
    answer.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), [format!("password: {fault}")]);
}

#[tokio::test]
async fn a_sign_in_brings_an_old_hash_to_todays_cost() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let hash =
        async || app.cluster.texts(&owner.database(), "SELECT password_hash FROM staff").await;
    let before = hash().await;
    login(&app, &owner.email, &owner.password).await.expect(200);
    assert_eq!(hash().await, before, "of the right cost already");
    let mut settings = app.settings.clone();
    settings.auth.argon2 = Argon2Settings { memory_kib: 128, iterations: 2, parallelism: 1 };
    let change = Box::new(move |own: &mut _| *own = settings);
    let dearer =
        TestApp::open_registry(app.cluster.clone(), app.registry_database.clone(), change).await;
    login(&dearer, &owner.email, "a wrong password")
        .await
        .expect_problem(401, "invalid_credentials");
    assert_eq!(hash().await, before);
    login(&dearer, &owner.email, &owner.password).await.expect(200);
    let after = hash().await;
    assert!(after[0].contains("m=128,t=2,p=1"), "{after:?}");
    login(&dearer, &owner.email, &owner.password).await.expect(200);
    assert_eq!(hash().await, after);
    login(&app, &owner.email, &owner.password).await.expect(200);
}

/// Somebody can register with an address that is not theirs, and wait for its owner.
#[tokio::test]
async fn what_was_made_before_an_address_was_proven_is_worth_nothing_to_its_maker() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let stranger = app.register().await;
    stranger.step_up().await;
    let make = async |maker: &Staff, permissions: &[&str]| {
        let key = json!({"name": "kept", "permissions": permissions});
        let key = maker.post("/v1/api-keys", key).await.expect(201);
        stranger.with_token(key["secret"].as_str().unwrap())
    };
    let key = make(&stranger, &["members:read", "tenant:manage"]).await;
    let keys = [make(&key, &["members:read"]).await, key];
    for key in &keys {
        key.get("/v1/members").await.expect(200);
    }
    super::mfa::enroll(&app, &stranger).await;

    forgot(&app, &stranger.email).await.expect(202);
    let letter = mail.letter(&stranger.email, 2).await;
    reset(&app, &letter.token(), "the owner's password 7").await.expect(204);
    for key in &keys {
        key.get("/v1/members").await.expect_problem(401, "token_revoked");
    }
    // The stranger's second factor does not lock the owner out.
    login(&app, &stranger.email, "the owner's password 7").await.expect(200);
}
