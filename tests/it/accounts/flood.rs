//! Many sign in at once, each at the full price of a password hash.

use narthex::configuration::Argon2Settings;
use reqwest::Method;
use serde_json::json;

use crate::support::TestApp;

/// Sign-ins at once: with a hash each in memory they would take 2 GiB, and a minute of this machine.
const FLOOD: usize = 100;

#[tokio::test]
async fn a_flood_of_sign_ins_holds_nobody_up_who_is_signed_in() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.auth.argon2 = Argon2Settings::default();
    }))
    .await;
    let owner = app.register().await;
    let member = owner.add_member("Grace", "+13125550100").await;
    let path = format!("/v1/members/{}", member["id"].as_str().unwrap());
    let flood = (0..FLOOD).map(|n| {
        let body = json!({"email": format!("nobody{n}@example.org"), "password": "a guess"});
        app.call(Method::POST, "/v1/auth/login", Some(body))
    });
    let reading = async {
        for _ in 0..50 {
            owner.get(&path).await.expect(200);
        }
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(flood), reading);
    for answer in &answers {
        // Refused as wrong, or told to come back: never anything else, and never without an end.
        match answer.status {
            401 => answer.expect_problem(401, "invalid_credentials"),
            _ => answer.expect_problem(503, "busy"),
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 401), "nobody had a turn");
    // Whoever waits for a turn holds no connection: nothing is left over.
    owner.get(&path).await.expect(200);
}
