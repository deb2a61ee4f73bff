//! Which tokens are an operator's: none of a tenant's, none of another key, none whose session is over.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use narthex::registry::people::operators::Role;
use narthex::registry::secrets::signing_keys::{self, Audience, StoredKey};
use reqwest::Method;
use ring::hmac;
use ring::signature::Ed25519KeyPair;
use rstest::rstest;
use serde_json::{Value, json};

use crate::http::routes::{operator_routes, tenant_routes};
use crate::support::{Answer, TestApp, TestOperator};

async fn key(app: &TestApp, audience: Audience) -> StoredKey {
    let db = app.registry.connect().await.unwrap();
    let now = app.clock.now();
    let keys = signing_keys::active(&db, app.registry.sealer(), Some(audience), now).await;
    keys.unwrap().remove(0)
}

fn parts(token: &str) -> (Value, Value) {
    let part = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let mut parts = token.split('.');
    (part(parts.next().unwrap()), part(parts.next().unwrap()))
}

fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn signed(header: &Value, claims: &Value, key: &StoredKey) -> String {
    let message = message(header, claims);
    let pair = Ed25519KeyPair::from_seed_unchecked(&key.seed).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())))
}

async fn me(app: &TestApp, path: &str, token: &str) -> Answer {
    let call = app.client.get(format!("{}{path}", app.url)).bearer_auth(token);
    Answer::of(call.send().await.unwrap()).await
}

const ME: &str = "/v1/admin/auth/me";

#[tokio::test]
async fn nothing_of_a_tenant_is_good_for_an_operator_and_the_other_way_round() {
    let app = TestApp::start().await;
    let (staff, ada) = (app.register().await, app.operator(Role::Admin).await);
    for route in operator_routes() {
        let path = route
            .path
            .replace("{id}", &staff.tenant_id.to_string())
            .replace("{number}", "+13125550101");
        staff
            .call(route.method.clone(), &path, route.body())
            .await
            .expect_problem(401, "invalid_token");
        let mut by_cookie =
            app.client.request(route.method.clone(), format!("{}{path}", app.url)).header(
                "cookie",
                format!("narthex_access={}; narthex_access={}", staff.token, ada.token),
            );
        if let Some(body) = route.body() {
            by_cookie = by_cookie.json(&body);
        }
        let answer = Answer::of(by_cookie.send().await.unwrap()).await;
        answer.expect_problem(401, "invalid_token");
    }
    for route in tenant_routes() {
        let path = route.path.replace("{id}", &ada.id.to_string());
        let answer = ada.call(route.method.clone(), &path, route.body()).await;
        answer.expect_problem(401, "invalid_token");
    }
    assert_eq!(app.audit_log("request").await, Vec::<String>::new());

    // Not even one who has stolen a key of the one makes tokens of the other.
    let (of_tenant, of_operator) =
        (key(&app, Audience::Tenant).await, key(&app, Audience::Operator).await);
    let ((staff_header, staff_claims), (header, claims)) = (parts(&staff.token), parts(&ada.token));
    assert_eq!(claims["aud"], "narthex:operator");
    assert!((claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap()) <= 8 * 3600);
    me(&app, ME, &signed(&header, &claims, &of_operator)).await.expect(200);
    let with = |value: &Value, name: &str, text: &str| {
        let mut value = value.clone();
        value[name] = json!(text);
        value
    };
    for kid in [&of_tenant.kid, &of_operator.kid] {
        for forged in [
            signed(&with(&header, "kid", kid), &claims, &of_tenant),
            signed(
                &with(&header, "kid", kid),
                &with(&claims, "aud", "narthex:tenant"),
                &of_operator,
            ),
            signed(&with(&staff_header, "kid", kid), &staff_claims, &of_operator),
        ] {
            me(&app, ME, &forged).await.expect_problem(401, "invalid_token");
        }
        for forged in [
            signed(&with(&staff_header, "kid", kid), &staff_claims, &of_operator),
            signed(
                &with(&staff_header, "kid", kid),
                &with(&staff_claims, "aud", "narthex:operator"),
                &of_tenant,
            ),
            signed(
                &with(&header, "kid", kid),
                &with(&claims, "aud", "narthex:tenant"),
                &of_operator,
            ),
        ] {
            me(&app, "/v1/auth/me", &forged).await.expect_problem(401, "invalid_token");
        }
    }
    // The keys of operators are nobody else's business.
    let published = app.call(Method::GET, "/.well-known/jwks.json", None).await.expect(200);
    assert!(published.to_string().contains(&of_tenant.kid));
    assert!(!published.to_string().contains(&of_operator.kid));
}

type Forgery = fn(Value, Value, &StoredKey) -> String;

fn changed(mut value: Value, name: &str, to: impl Into<Value>) -> Value {
    value[name] = to.into();
    value
}

fn with_hmac(header: Value, claims: Value, secret: &[u8]) -> String {
    let message = message(&changed(header, "alg", "HS256"), &claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[rstest]
#[case::alg_none(|h: Value, c: Value, _: &StoredKey| message(&changed(h, "alg", "none"), &c) + ".")]
#[case::no_signature(|h: Value, c: Value, _: &StoredKey| message(&h, &c) + ".")]
#[case::hmac_with_the_public_key(|h: Value, c: Value, key: &StoredKey| with_hmac(h, c, &key.public_key))]
#[case::another_algorithm(|h: Value, c: Value, key: &StoredKey| signed(&changed(h, "alg", "ES256"), &c, key))]
#[case::kid_as_path(|h: Value, c: Value, key: &StoredKey| signed(&changed(h, "kid", "../../dev/null"), &c, key))]
#[case::no_kid(|h: Value, c: Value, key: &StoredKey| signed(&changed(h, "kid", Value::Null), &c, key))]
#[case::another_issuer(|h: Value, c: Value, key: &StoredKey| signed(&h, &changed(c, "iss", "elsewhere"), key))]
#[case::no_audience(|h: Value, c: Value, key: &StoredKey| signed(&h, &changed(c, "aud", Value::Null), key))]
#[case::an_unknown_role(|h: Value, c: Value, key: &StoredKey| signed(&h, &changed(c, "role", "root"), key))]
#[case::subject_that_is_no_id(|h: Value, c: Value, key: &StoredKey| signed(&h, &changed(c, "sub", "root"), key))]
#[case::long(|_: Value, _: Value, _: &StoredKey| "x".repeat(20_000))]
#[case::nothing(|_: Value, _: Value, _: &StoredKey| String::new())]
#[tokio::test]
async fn a_token_that_is_not_ours_is_invalid(#[case] forgery: Forgery) {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    let (header, claims) = parts(&ada.token);
    let token = forgery(header, claims, &key(&app, Audience::Operator).await);
    me(&app, ME, &token).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn every_single_changed_character_of_a_token_matters() {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    for position in (0..ada.token.len()).step_by(17) {
        let mut changed = ada.token.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        let answer = me(&app, ME, &String::from_utf8(changed).unwrap()).await;
        answer.expect_problem(401, "invalid_token");
    }
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_with_its_session() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let (ada, eve) = (app.operator(Role::Admin).await, app.operator(Role::Admin).await);
    let session_of = |operator: &TestOperator| parts(&operator.token).1["sid"].clone();
    // The session of another is not theirs.
    let (header, claims) = parts(&ada.token);
    let moved = changed(claims, "sid", session_of(&eve));
    let forged = signed(&header, &moved, &key(&app, Audience::Operator).await);
    me(&app, ME, &forged).await.expect_problem(401, "token_revoked");

    ada.call(Method::POST, "/v1/admin/auth/logout", None).await.expect(204);
    ada.at(&replica).get(ME).await.expect_problem(401, "token_revoked");
    app.clock.advance(TimeDelta::hours(8));
    eve.get(ME).await.expect_problem(401, "token_expired");
    // To sign out, nobody has to be signed in; but to show a token of ours.
    for over in [&ada, &eve] {
        over.call(Method::POST, "/v1/admin/auth/logout", None).await.expect(204);
    }
    let forged =
        app.client.post(format!("{}/v1/admin/auth/logout", app.url)).bearer_auth(&forged[1..]);
    Answer::of(forged.send().await.unwrap()).await.expect_problem(401, "invalid_token");
    // Where they were at home is remembered for a while.
    app.clock.advance(TimeDelta::days(31));
    app.operator(Role::Viewer).await;
    assert_eq!(app.registry_count("SELECT count(*) FROM operator_sessions").await, 1);
}
