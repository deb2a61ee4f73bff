//! The second factor of operators: once it is there nobody gets in without, and no code is good twice.

use chrono::TimeDelta;
use narthex::registry::people::operators::Role;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestOperator};

/// The code that an authenticator app shows (RFC 6238).
pub fn code(secret: &str, app: &TestApp) -> String {
    let mut bits = String::new();
    for letter in secret.chars() {
        let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(letter).unwrap();
        bits.push_str(&format!("{value:05b}"));
    }
    let bytes: Vec<u8> = bits
        .as_bytes()
        .chunks_exact(8)
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect();
    let step = app.clock.now().timestamp() / 30;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let digest = hmac::sign(&key, &step.to_be_bytes());
    let digest = digest.as_ref();
    let offset = usize::from(digest[19] & 15);
    let number = u32::from_be_bytes(digest[offset..offset + 4].try_into().unwrap());
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

/// Sets a second factor up; the secret and the recovery codes.
pub async fn enroll(app: &TestApp, operator: &TestOperator) -> (String, Vec<String>) {
    // At the beginning of a step, so that what follows is in the same one.
    app.clock.advance(TimeDelta::seconds(30 - app.clock.now().timestamp() % 30));
    let body = json!({"password": operator.password});
    let enrolled = operator.post("/v1/admin/auth/mfa/enroll", body).await.expect(200);
    let secret = enrolled["secret"].as_str().unwrap().to_owned();
    let url = enrolled["otpauth_url"].as_str().unwrap();
    assert!(url.starts_with("otpauth://totp/") && url.contains(&secret), "{url}");
    let confirm = json!({"totp_code": code(&secret, app)});
    let confirmed = operator.post("/v1/admin/auth/mfa/confirm", confirm).await.expect(200);
    let codes = confirmed["recovery_codes"].as_array().unwrap().iter();
    (secret, codes.map(|code| code.as_str().unwrap().to_owned()).collect())
}

async fn login(app: &TestApp, operator: &TestOperator, more: Value) -> Answer {
    app.operator_login(&operator.email, &operator.password, more).await
}

#[tokio::test]
async fn with_a_second_factor_nobody_gets_in_without_and_no_code_is_good_twice() {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    let elsewhere = ada.again().await;
    let guess = json!({"password": "a guess"});
    let refused = ada.post("/v1/admin/auth/mfa/enroll", guess).await;
    refused.expect_problem(401, "invalid_credentials");
    let early = ada.post("/v1/admin/auth/mfa/confirm", json!({"totp_code": "123456"})).await;
    early.expect_problem(409, "conflict");
    let (secret, codes) = enroll(&app, &ada).await;
    assert_eq!(codes.len(), 10);
    // What was opened without it is over.
    elsewhere.get("/v1/admin/auth/me").await.expect_problem(401, "token_revoked");
    let me = ada.get("/v1/admin/auth/me").await.expect(200);
    assert_eq!(me["operator"]["mfa_enabled"], true);
    let again = ada.post("/v1/admin/auth/mfa/enroll", json!({"password": ada.password})).await;
    again.expect_problem(409, "conflict");

    login(&app, &ada, json!({})).await.expect_problem(401, "mfa_required");
    let wrong = app.operator_login(&ada.email, "a guess", json!({})).await;
    wrong.expect_problem(401, "invalid_credentials");
    // The code that has confirmed it was used.
    let used = json!({"totp_code": code(&secret, &app)});
    login(&app, &ada, used).await.expect_problem(401, "invalid_credentials");
    app.clock.advance(TimeDelta::seconds(30));
    let fresh = json!({"totp_code": code(&secret, &app)});
    // Of many at once one gets in.
    let all =
        futures_util::future::join_all((0..4).map(|_| login(&app, &ada, fresh.clone()))).await;
    let statuses: Vec<u16> = all.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    login(&app, &ada, fresh).await.expect_problem(401, "invalid_credentials");
    for bad in ["000000x", "", "      ", "1", "１２３４５６"] {
        let answer = login(&app, &ada, json!({"totp_code": bad})).await;
        let expected = if bad.trim().is_empty() { 422 } else { 401 };
        assert_eq!(answer.status, expected, "{bad}");
    }
}

#[tokio::test]
async fn a_recovery_code_is_good_once_however_it_is_written() {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    let (secret, codes) = enroll(&app, &ada).await;
    let written = json!({"recovery_code": codes[3].to_uppercase().replace('-', " ")});
    login(&app, &ada, written.clone()).await.expect(200);
    login(&app, &ada, written).await.expect_problem(401, "invalid_credentials");
    let other = json!({"recovery_code": "aaaa-aaaa-aaaa-aaaa"});
    login(&app, &ada, other).await.expect_problem(401, "invalid_credentials");
    let hidden =
        format!("SELECT count(*) FROM operator_recovery_codes WHERE operator_id = '{}'", ada.id);
    assert_eq!(app.registry_count(&hidden).await, 9);
    let signed_in = app.audit_log("operator.signed_in").await;
    assert!(signed_in.last().unwrap().contains("recovery_code"), "{signed_in:?}");
    assert!(!signed_in.join(" ").contains(&codes[3]));

    let disable = |password: &str, more: Value| {
        let mut body = json!({"password": password});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let ada = ada.clone();
        async move { ada.post("/v1/admin/auth/mfa/disable", body).await }
    };
    let good = json!({"recovery_code": codes[4]});
    disable("a guess", good.clone()).await.expect_problem(401, "invalid_credentials");
    disable(&ada.password, json!({})).await.expect_problem(422, "validation_failed");
    let used = json!({"totp_code": code(&secret, &app)});
    disable(&ada.password, used).await.expect_problem(401, "invalid_credentials");
    login(&app, &ada, json!({})).await.expect_problem(401, "mfa_required");
    disable(&ada.password, good).await.expect(204);
    login(&app, &ada, json!({})).await.expect(200);
    assert_eq!(app.registry_count(&hidden).await, 0);
}

#[tokio::test]
async fn guesses_at_a_code_are_counted() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.limits.enabled = true;
        settings.limits.login = "3/15m".parse().unwrap();
    }))
    .await;
    let ada = app.operator(Role::Admin).await;
    let (secret, _) = enroll(&app, &ada).await;
    app.clock.advance(TimeDelta::seconds(30));
    let good = code(&secret, &app);
    for _ in 0..3 {
        let wrong = if good == "000000" { "111111" } else { "000000" };
        let answer = login(&app, &ada, json!({"totp_code": wrong})).await;
        answer.expect_problem(401, "invalid_credentials");
    }
    let late = login(&app, &ada, json!({"totp_code": good})).await;
    late.expect_problem(429, "rate_limited");
}

#[tokio::test]
async fn where_it_is_required_nothing_else_works_before_it_is_set_up() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.auth.operator_mfa_required = true;
    }))
    .await;
    let ada = app.operator(Role::Admin).await;
    for path in ["/v1/admin/tenants", "/v1/admin/operators", "/v1/admin/audit-log"] {
        ada.get(path).await.expect_problem(403, "mfa_enrollment_required");
    }
    ada.get("/v1/admin/auth/me").await.expect(200);
    enroll(&app, &ada).await;
    ada.get("/v1/admin/tenants").await.expect(200);
}
