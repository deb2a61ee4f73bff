//! Second factors: set up, asked for, used up, lost.

use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::in_session;
use crate::support::{Answer, Staff, TestApp, eventually};

/// The authenticator app of somebody.
pub struct Authenticator(String);

impl Authenticator {
    /// The code at the application's clock.
    pub fn code(&self, app: &TestApp) -> String {
        let secret = Secret::try_from_base32(&self.0).unwrap();
        let totp = Builder::new().with_secret(secret).build_noncompliant();
        totp.generate(app.clock.now().timestamp().try_into().unwrap()).to_string()
    }
}

/// Sets a second factor up. Returns the app, and the recovery codes.
pub async fn enroll(app: &TestApp, staff: &Staff) -> (Authenticator, Vec<String>) {
    // At the beginning of a step, so that none ends between two lines of a test.
    let into = app.clock.now().timestamp() % 30;
    app.clock.advance(TimeDelta::seconds(30 - into));
    let enrolled = staff.post("/v1/auth/mfa/enroll", json!({"password": staff.password})).await;
    let enrolled = enrolled.expect(200);
    let authenticator = Authenticator(enrolled["secret"].as_str().unwrap().to_owned());
    let url = enrolled["otpauth_url"].as_str().unwrap();
    assert!(url.starts_with("otpauth://totp/") && url.contains(&authenticator.0), "{url}");
    let confirm = json!({"totp_code": authenticator.code(app)});
    let confirmed = staff.post("/v1/auth/mfa/confirm", confirm).await.expect(200);
    let codes = confirmed["recovery_codes"].as_array().unwrap().iter();
    (authenticator, codes.map(|code| code.as_str().unwrap().to_owned()).collect())
}

async fn login(app: &TestApp, staff: &Staff, more: Value) -> Answer {
    let mut body = json!({"email": staff.email, "password": staff.password});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.call(Method::POST, "/v1/auth/login", Some(body)).await
}

#[tokio::test]
async fn whoever_has_a_second_factor_is_asked_for_it() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let other = in_session(&owner, &login(&app, &owner, json!({})).await.expect(200));
    let enrolling = json!({"password": owner.password});
    owner.post("/v1/auth/mfa/enroll", enrolling.clone()).await.expect(200);
    // Until it is confirmed nobody is asked.
    login(&app, &owner, json!({})).await.expect(200);
    let (authenticator, codes) = enroll(&app, &owner).await;
    assert_eq!(codes.len(), 10);
    other.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
    assert_eq!(owner.get("/v1/auth/me").await.expect(200)["user"]["mfa_enabled"], true);

    login(&app, &owner, json!({})).await.expect_problem(401, "mfa_required");
    // The code of the confirmation is used up.
    let code = json!({"totp_code": authenticator.code(&app)});
    login(&app, &owner, code).await.expect_problem(401, "invalid_credentials");
    app.clock.advance(TimeDelta::seconds(30));
    let code = json!({"totp_code": authenticator.code(&app)});
    let mut wrong = json!({"totp_code": authenticator.code(&app), "password": "not the password"});
    login(&app, &owner, wrong.take()).await.expect_problem(401, "invalid_credentials");
    login(&app, &owner, code.clone()).await.expect(200);
    login(&app, &owner, code).await.expect_problem(401, "invalid_credentials");
    for code in ["000000", "12345", "", "abcdef"] {
        let answer = login(&app, &owner, json!({"totp_code": code})).await;
        assert!([401, 422].contains(&answer.status), "{code}: {}", answer.body);
        assert_ne!(answer.code(), "mfa_required");
    }
    let both = json!({"totp_code": "123456", "recovery_code": codes[0]});
    login(&app, &owner, both).await.expect_problem(422, "validation_failed");
    owner.post("/v1/auth/mfa/enroll", enrolling).await.expect_problem(409, "conflict");
    // Neither secret nor codes stand anywhere.
    for secret in [&authenticator.0, &codes[0]] {
        assert!(!app.cluster.holds(&owner.database(), secret).await);
    }
}

#[tokio::test]
async fn of_many_who_show_one_code_at_once_one_gets_in() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let (authenticator, codes) = enroll(&app, &owner).await;
    app.clock.advance(TimeDelta::seconds(60));
    for shown in
        [json!({"totp_code": authenticator.code(&app)}), json!({"recovery_code": codes[3]})]
    {
        let answers = (0..6).map(|_| login(&app, &owner, shown.clone()));
        let answers = futures_util::future::join_all(answers).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{shown}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.expect_problem(401, "invalid_credentials");
        }
    }
}

#[tokio::test]
async fn a_recovery_code_is_good_once_however_it_is_written() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let (_, codes) = enroll(&app, &owner).await;
    let code = json!({"recovery_code": codes[0].to_uppercase().replace('-', " ")});
    login(&app, &owner, code.clone()).await.expect(200);
    login(&app, &owner, code).await.expect_problem(401, "invalid_credentials");
    login(&app, &owner, json!({"recovery_code": codes[1]})).await.expect(200);
    // Whoever has lost the app takes the factor off with one.
    let disable = json!({"password": owner.password, "recovery_code": codes[2]});
    owner.post("/v1/auth/mfa/disable", disable).await.expect(204);
    login(&app, &owner, json!({})).await.expect(200);
    login(&app, &owner, json!({"recovery_code": codes[4]})).await.expect(200);
}

#[rstest]
#[case(json!({"password": "a wrong password"}), 401)]
#[case(json!({}), 422)]
#[tokio::test]
async fn whoever_has_stolen_a_token_sets_up_nothing(#[case] body: Value, #[case] status: u16) {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let answer = owner.post("/v1/auth/mfa/enroll", body).await;
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(app.cluster.count(&owner.database(), "SELECT count(*) FROM staff_totp").await, 0);
}

#[tokio::test]
async fn codes_cannot_be_guessed_at() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.limits.enabled = true;
        settings.limits.login = "3/15m".parse().unwrap();
    }))
    .await;
    let owner = app.register().await;
    let (authenticator, _) = enroll(&app, &owner).await;
    app.clock.advance(TimeDelta::seconds(60));
    for n in 0..5 {
        let answer = login(&app, &owner, json!({"totp_code": format!("00000{n}")})).await;
        match n {
            0..3 => answer.expect_problem(401, "invalid_credentials"),
            _ => answer.expect_problem(429, "rate_limited"),
        }
    }
    let code = json!({"totp_code": authenticator.code(&app)});
    login(&app, &owner, code).await.expect_problem(429, "rate_limited");
}

#[tokio::test]
async fn a_tenant_that_wants_second_factors_gets_them() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let require = json!({"mfa_required": true});
    assert_eq!(owner.patch("/v1/tenant/settings", require).await.expect(200)["mfa_required"], true);
    eventually("nothing else is open", async || {
        owner.get("/v1/members").await.code() == "mfa_enrollment_required"
    })
    .await;
    let me = owner.get("/v1/auth/me").await.expect(200);
    assert_eq!(me["mfa_enrollment_required"], true);
    enroll(&app, &owner).await;
    owner.get("/v1/members").await.expect(200);
    assert_eq!(owner.get("/v1/auth/me").await.expect(200)["mfa_enrollment_required"], false);
}

/// A registration that is repeated with its key opens a session for whoever has the password; but not past a second factor.
#[tokio::test]
async fn a_repeated_registration_is_no_way_around() {
    let app = TestApp::start().await;
    let registration = app.registration();
    let register = async || {
        let request = app.client.post(format!("{}/v1/auth/register", app.url));
        let request = request.header("idempotency-key", "once").json(&registration);
        Answer::of(request.send().await.unwrap()).await
    };
    let made = register().await.expect(201);
    let mut owner = app.register().await;
    owner.token = made["access_token"].as_str().unwrap().to_owned();
    owner.password = registration["password"].as_str().unwrap().to_owned();
    enroll(&app, &owner).await;
    register().await.expect_problem(401, "mfa_required");
}
