//! Is the address theirs? A letter asks, and whoever brings its token has it.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use super::login::login;
use crate::support::{Answer, Caller, MailServer, Staff, TestApp, unique};

async fn verify(app: &TestApp, token: &str) -> Answer {
    app.call(Method::POST, "/v1/auth/email/verify", Some(json!({"token": token}))).await
}

async fn is_verified(staff: &Staff) -> Value {
    staff.get("/v1/auth/me").await.expect(200)["email_verified"].clone()
}

#[tokio::test]
async fn whoever_registers_gets_a_letter_and_proves_the_address_once() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = app.register().await;
    let token = mail.letter(&owner.email, 1).await.token();
    assert_eq!(is_verified(&owner).await, false);
    verify(&app, "nonsense").await.expect_problem(401, "invalid_token");
    verify(&app, &token).await.expect(204);
    assert_eq!(is_verified(&owner).await, true);
    verify(&app, &token).await.expect_problem(401, "invalid_token");
    // Nothing more to prove: no letter, however it is asked for.
    login(&app, &owner.email, &owner.password).await.expect(200);
    owner.post("/v1/auth/email/verify/resend", json!({})).await.expect(204);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(mail.letters_to(&owner.email).len(), 1);
}

/// Anybody can register with the address of another, and must not be able to write to them from here.
#[tokio::test]
async fn letters_to_an_address_that_nobody_has_proven_hold_nothing_that_a_stranger_wrote() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let mut registration = app.registration();
    registration["organization_name"] = json!("You have won! https://evil.example/claim");
    registration["first_name"] = json!("Prize");
    registration["last_name"] = json!("Winner");
    let made = app.call(Method::POST, "/v1/auth/register", Some(registration.clone())).await;
    let token = made.expect(201)["access_token"].as_str().unwrap().to_owned();
    let email = registration["email"].as_str().unwrap();
    let mut letters = vec![mail.letter(email, 1).await];
    let forgot = Some(json!({"email": email}));
    app.call(Method::POST, "/v1/auth/password/forgot", forgot).await.expect(202);
    letters.push(mail.letter(email, 2).await);
    let other = format!("visit-evil.example-{}@example.org", unique());
    let body = json!({"email": other, "password": registration["password"]});
    Caller::of(&app, &token).post("/v1/auth/email/change", body).await.expect(202);
    letters.push(mail.letter(&other, 1).await);
    let body = Some(json!({"token": letters[2].token()}));
    app.call(Method::POST, "/v1/auth/email/change/confirm", body).await.expect(204);
    letters.push(mail.letter(email, 3).await);
    for letter in letters {
        let shown = format!("{}\n{}", letter.subject, letter.text);
        for written in ["won", "evil", "claim", "Prize", "Winner"] {
            assert!(!shown.contains(written), "{written}: {shown}");
        }
    }
}

#[tokio::test]
async fn the_letter_comes_again_when_it_is_asked_for_or_too_old() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = app.register().await;
    let first = mail.letter(&owner.email, 1).await.token();
    // One that is on its way is enough.
    login(&app, &owner.email, &owner.password).await.expect(200);
    owner.post("/v1/auth/email/verify/resend", json!({})).await.expect(204);
    let second = mail.letter(&owner.email, 2).await.token();
    verify(&app, &first).await.expect_problem(401, "invalid_token");
    app.clock.advance(TimeDelta::hours(25));
    verify(&app, &second).await.expect_problem(401, "invalid_token");
    login(&app, &owner.email, &owner.password).await.expect(200);
    let third = mail.letter(&owner.email, 3).await.token();
    verify(&app, &third).await.expect(204);
}

#[tokio::test]
async fn a_token_for_an_address_that_is_theirs_no_more_proves_nothing() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = app.register().await;
    let token = mail.letter(&owner.email, 1).await.token();
    app.cluster.execute(&owner.database(), "UPDATE staff SET email = 'new@example.org'").await;
    verify(&app, &token).await.expect_problem(401, "invalid_token");
    assert_eq!(is_verified(&owner).await, false);
}

#[tokio::test]
async fn without_a_mail_server_everything_else_goes_on() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    login(&app, &owner.email, &owner.password).await.expect(200);
    let count = "SELECT count(*) FROM one_time_tokens";
    assert_eq!(app.cluster.count(&owner.database(), count).await, 0);
    app.call(Method::POST, "/v1/auth/password/forgot", Some(json!({"email": owner.email})))
        .await
        .expect(202);
}

/// An address that was registered by somebody else does not move away when its owner follows the letter.
#[tokio::test]
async fn the_first_proof_ends_a_pending_change_of_the_address() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = app.register().await;
    let other = format!("{}@example.net", unique());
    let body = json!({"email": other, "password": owner.password});
    owner.post("/v1/auth/email/change", body).await.expect(202);
    let begun = mail.letter(&other, 1).await.token();

    let letter = mail.letter(&owner.email, 1).await;
    assert!(letter.text.contains("If you have not, do not follow the link"), "{letter:?}");
    verify(&app, &letter.token()).await.expect(204);
    let body = Some(json!({"token": begun}));
    let late = app.call(Method::POST, "/v1/auth/email/change/confirm", body).await;
    late.expect_problem(401, "invalid_token");
}

/// Somebody registers with the address of another, gives it up for one of their own, and begins anew.
#[tokio::test]
async fn letters_to_an_address_that_nobody_has_proven_come_to_an_end() {
    let mail = MailServer::start().await;
    let used = mail.used();
    let app = TestApp::start_with(Box::new(move |settings| {
        used(settings);
        settings.limits.enabled = true;
        settings.limits.letters = "2/1h".parse().unwrap();
    }))
    .await;
    let mut registration = app.registration();
    let email = registration["email"].as_str().unwrap().to_owned();
    for round in 1..=3 {
        registration["organization_name"] = json!(format!("Church {}", unique()));
        let made = app.call(Method::POST, "/v1/auth/register", Some(registration.clone())).await;
        let token = made.expect(201)["access_token"].as_str().unwrap().to_owned();
        let own = format!("{}@example.net", unique());
        let body = json!({"email": own, "password": registration["password"]});
        Caller::of(&app, &token).post("/v1/auth/email/change", body).await.expect(202);
        let body = Some(json!({"token": mail.letter(&own, 1).await.token()}));
        app.call(Method::POST, "/v1/auth/email/change/confirm", body).await.expect(204);
        if round <= 2 {
            mail.letter(&email, 2 * round).await;
        }
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(mail.letters_to(&email).len(), 4);
}
