//! New keys sign the tokens of tomorrow, and those of today are believed until they expire. Unless a key has been stolen.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use crate::accounts::in_session;
use crate::accounts::login::login;
use crate::command_line::CliFixture;
use crate::support::{Staff, TestApp, eventually};

/// The key that has signed a token.
fn kid(token: &str) -> String {
    use base64::Engine;
    let header = token.split('.').next().unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: Value = serde_json::from_slice(&bytes).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

async fn published(app: &TestApp) -> BTreeSet<String> {
    let keys = app.call(Method::GET, "/.well-known/jwks.json", None).await.expect(200);
    let keys = keys["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn again(app: &TestApp, staff: &Staff) -> Staff {
    let session = login(app, &staff.email, &staff.password).await.expect(200);
    in_session(staff, &session)
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_goes_after_its_tokens() {
    let app = TestApp::start().await;
    let place = CliFixture::of(&app);
    let owner = app.register().await;
    let old = kid(&owner.token);
    let said = place.run(&["keys", "rotate"]).await.expect(0);
    let new = said.split(' ').next().unwrap().to_owned();
    let both = BTreeSet::from([old.clone(), new.clone()]);
    eventually("the new key is published", async || published(&app).await == both).await;
    assert_eq!(kid(&again(&app, &owner).await.token), old, "nobody may know the new one yet");

    app.clock.advance(TimeDelta::minutes(10));
    let later = again(&app, &owner).await;
    assert_eq!(kid(&later.token), new);
    for staff in [&owner, &later] {
        staff.get("/v1/auth/me").await.expect(200);
    }
    let listed = place.json(&["keys", "list"]).await;
    for audience in ["tenant", "operator"] {
        let keys = listed.as_array().unwrap().iter();
        let keys: Vec<_> = keys.filter(|key| key["audience"] == audience).collect();
        assert_eq!((keys.len(), &keys[0]["retired_at"]), (2, &Value::Null), "{listed}");
        assert!(keys[1]["retired_at"].is_string(), "{listed}");
    }

    // When the last token of the old one has expired, an operator's visit at that.
    app.clock.advance(TimeDelta::minutes(61));
    eventually("the old key is gone", async || {
        published(&app).await == BTreeSet::from([new.clone()])
    })
    .await;
    owner.get("/v1/auth/me").await.expect_problem(401, "token_expired");
    let body = json!({"refresh_token": owner.refresh_token});
    let refreshed = app.call(Method::POST, "/v1/auth/refresh", Some(body)).await.expect(200);
    in_session(&owner, &refreshed).get("/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn what_a_stolen_key_has_signed_is_believed_no_more() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let owner = app.register().await;
    for app in [&app, &replica] {
        owner.at(app).get("/v1/auth/me").await.expect(200);
    }
    CliFixture::of(&app).run(&["keys", "rotate", "--at-once"]).await.expect(0);
    for app in [&app, &replica] {
        eventually("the token is believed no more", async || {
            owner.at(app).get("/v1/auth/me").await.code() == "invalid_token"
        })
        .await;
    }
    // Sessions live on: only the tokens are worth nothing.
    let body = json!({"refresh_token": owner.refresh_token});
    let refreshed = app.call(Method::POST, "/v1/auth/refresh", Some(body)).await.expect(200);
    let owner = in_session(&owner, &refreshed);
    // A replica that meets a key it does not know looks at once.
    owner.at(&replica).get("/v1/auth/me").await.expect(200);
    assert_eq!(published(&replica).await.len(), 1);
}

#[tokio::test]
async fn rotations_at_once_leave_one_line_of_keys() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let rotations = (0..4).map(|_| app.access.tokens().rotate_keys(false));
    let kids = futures_util::future::join_all(rotations).await;
    assert!(kids.iter().all(Result::is_ok), "{kids:?}");
    eventually("all are published", async || published(&app).await.len() == 5).await;
    assert_eq!(
        app.registry_count(
            "SELECT count(*) FROM signing_keys WHERE retired_at IS NULL AND audience = 'tenant'"
        )
        .await,
        1
    );
    app.clock.advance(TimeDelta::minutes(10));
    owner.get("/v1/auth/me").await.expect(200);
    again(&app, &owner).await.get("/v1/auth/me").await.expect(200);
}
