//! Session tokens of Clerk beside our own.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use reqwest::Method;
use ring::hmac;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Answer, ClerkInstance, ClerkKey, Staff, TestApp, eventually, unique};

/// An application that believes an instance of Clerk, and a tenant whose owner is a user of it.
struct Scene {
    app: TestApp,
    instance: ClerkInstance,
    key: ClerkKey,
    owner: Staff,
    organization: String,
    user: String,
}

impl Scene {
    async fn start() -> Self {
        let key = ClerkKey::first();
        let instance = ClerkInstance::with(&[&key]).await;
        let app = TestApp::start_with(instance.believed()).await;
        let (owner, unique) = (app.register().await, unique());
        let (organization, user) = (format!("org_{unique}"), format!("user_{unique}"));
        let (tenant, staff) = (owner.tenant_id, owner.user_id);
        app.registry_execute(&format!(
            "INSERT INTO clerk_organizations (id, tenant_id, next_settle_at) VALUES ('{organization}', '{tenant}', now());
             INSERT INTO clerk_users (id) VALUES ('{user}');
             INSERT INTO clerk_memberships (id, organization_id, user_id) VALUES ('m_{unique}', '{organization}', '{user}');
             INSERT INTO clerk_staff (organization_id, user_id, staff_id, role, active)
             VALUES ('{organization}', '{user}', '{staff}', 'owner', true)"
        )).await;
        Self { app, instance, key, owner, organization, user }
    }

    fn claims(&self) -> Value {
        self.instance.claims(&self.app, &self.organization, &self.user)
    }

    async fn call(&self, path: &str, token: &str) -> Answer {
        let request = self.app.client.get(format!("{}{path}", self.app.url)).bearer_auth(token);
        Answer::of(request.send().await.unwrap()).await
    }

    async fn me(&self, token: &str) -> Answer {
        self.call("/v1/auth/me", token).await
    }

    fn now(&self) -> i64 {
        self.app.clock.now().timestamp()
    }
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

#[tokio::test]
async fn a_session_token_of_clerk_calls_as_the_member_of_staff() {
    let scene = Scene::start().await;
    let member = scene.owner.add_member("Grace", "+13125550101").await;
    let token = scene.key.token(&scene.claims());
    let me = scene.me(&token).await.expect(200);
    assert_eq!(me["user"]["id"], json!(scene.owner.user_id), "{me}");
    let list = scene.call("/v1/members", &token).await.expect(200);
    assert_eq!(list["data"], json!([member]));
    assert_eq!(scene.instance.asked(), 1);
    // Our own tokens go on as before, and know nothing of Clerk.
    scene.owner.get("/v1/members").await.expect(200);
}

#[tokio::test]
async fn version_1_of_the_claims_is_understood() {
    let scene = Scene::start().await;
    let claims = ["v", "o", "jti", "sts", "pla", "fea"].into_iter().fold(scene.claims(), without);
    let claims = with(claims, "org_id", scene.organization.as_str());
    let claims = with(with(claims, "org_role", "org:admin"), "org_slug", "blue-cafe");
    scene.me(&scene.key.token(&claims)).await.expect(200);
}

type Forgery = fn(&Scene) -> String;

fn hs256(scene: &Scene, secret: &[u8]) -> String {
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": scene.key.kid});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&scene.claims()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn signed(scene: &Scene, change: impl FnOnce(Value) -> Value) -> String {
    scene.key.token(&change(scene.claims()))
}

fn headed(scene: &Scene, header: Value) -> String {
    scene.key.token_of(&header, &scene.claims())
}

/// Each is refused, whatever it begins with.
const FORGERIES: &[(&str, Forgery)] = &[
    ("another_key_under_the_name_of_the_first", |s: &Scene| {
        let header = json!({"alg": "RS256", "kid": s.key.kid});
        ClerkKey::second().token_of(&header, &s.claims())
    }),
    ("unknown_key", |s: &Scene| ClerkKey::second().token(&s.claims())),
    ("alg_none", |s: &Scene| {
        let token = headed(s, json!({"alg": "none", "kid": s.key.kid}));
        format!("{}.", token.rsplit_once('.').unwrap().0)
    }),
    ("alg_none_with_the_signature", |s: &Scene| {
        headed(s, json!({"alg": "none", "kid": s.key.kid}))
    }),
    ("hmac_with_the_public_key", |s: &Scene| hs256(s, &s.key.public_bytes())),
    ("hmac_with_the_published_number", |s: &Scene| {
        hs256(s, s.key.jwk()["n"].as_str().unwrap().as_bytes())
    }),
    ("another_rsa_algorithm", |s: &Scene| headed(s, json!({"alg": "RS512", "kid": s.key.kid}))),
    ("lower_case_algorithm", |s: &Scene| headed(s, json!({"alg": "rs256", "kid": s.key.kid}))),
    ("our_own_algorithm", |s: &Scene| headed(s, json!({"alg": "EdDSA", "kid": s.key.kid}))),
    ("our_own_key", |s: &Scene| {
        let kid = &s.app.access.tokens().public_keys()[0].kid;
        headed(s, json!({"alg": "RS256", "kid": kid}))
    }),
    ("our_own_key_and_algorithm", |s: &Scene| {
        let kid = &s.app.access.tokens().public_keys()[0].kid;
        headed(s, json!({"alg": "EdDSA", "kid": kid}))
    }),
    ("our_token_under_the_name_of_clerks_key", |s: &Scene| {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "kid": s.key.kid}).to_string());
        format!("{header}.{}", s.owner.token.split_once('.').unwrap().1)
    }),
    ("no_kid", |s: &Scene| headed(s, json!({"alg": "RS256"}))),
    ("own_key_in_the_header", |s: &Scene| {
        let forger = ClerkKey::second();
        let header = json!({"alg": "RS256", "kid": s.key.kid, "jwk": forger.jwk()});
        forger.token_of(&header, &s.claims())
    }),
    ("something_critical_that_we_do_not_know", |s: &Scene| {
        headed(s, json!({"alg": "RS256", "kid": s.key.kid, "crit": ["b64"], "b64": false}))
    }),
    ("not_begun", |s: &Scene| signed(s, |c| with(c, "nbf", s.now() + 10))),
    ("made_in_the_future", |s: &Scene| signed(s, |c| with(c, "iat", s.now() + 10))),
    ("another_issuer", |s: &Scene| signed(s, |c| with(c, "iss", "https://clerk.elsewhere.test"))),
    ("issuer_with_a_slash", |s: &Scene| {
        signed(s, |c| with(c, "iss", format!("{}/", s.instance.issuer)))
    }),
    ("no_issuer", |s: &Scene| signed(s, |c| without(c, "iss"))),
    ("no_party", |s: &Scene| signed(s, |c| without(c, "azp"))),
    ("empty_party", |s: &Scene| signed(s, |c| with(c, "azp", ""))),
    ("another_party", |s: &Scene| {
        signed(s, |c| with(c, "azp", "https://app.example.test.evil.test"))
    }),
    ("parties", |s: &Scene| signed(s, |c| with(c, "azp", json!(["https://app.example.test"])))),
    ("sign_in_is_not_finished", |s: &Scene| signed(s, |c| with(c, "sts", "pending"))),
    ("no_organization", |s: &Scene| signed(s, |c| without(c, "o"))),
    ("another_organization", |s: &Scene| signed(s, |c| with(c, "o", json!({"id": "org_other"})))),
    ("two_organizations", |s: &Scene| signed(s, |c| with(c, "org_id", "org_other"))),
    ("another_user", |s: &Scene| signed(s, |c| with(c, "sub", "user_other"))),
    ("no_session", |s: &Scene| signed(s, |c| without(c, "sid"))),
    ("no_end", |s: &Scene| signed(s, |c| without(c, "exp"))),
    ("end_as_text", |s: &Scene| signed(s, |c| with(c, "exp", "9999999999"))),
    ("end_too_large", |s: &Scene| signed(s, |c| with(c, "exp", 1e300))),
    ("claims_that_are_no_object", |s: &Scene| s.key.token(&json!([1]))),
    ("long", |s: &Scene| signed(s, |c| with(c, "padding", "x".repeat(9000)))),
];

#[tokio::test]
async fn a_token_that_clerk_did_not_make_for_us_is_invalid() {
    let scene = Scene::start().await;
    for (name, forgery) in FORGERIES {
        let token = forgery(&scene);
        for path in ["/v1/auth/me", "/v1/members"] {
            let answer = scene.call(path, &token).await;
            assert_eq!((answer.status, answer.code()), (401, "invalid_token"), "{name}: {path}");
        }
    }
    // And the same scene lets in who is right.
    scene.me(&scene.key.token(&scene.claims())).await.expect(200);
}

#[tokio::test]
async fn a_token_expires_with_five_seconds_of_grace() {
    let scene = Scene::start().await;
    let expired = |ago: i64| with(scene.claims(), "exp", scene.now() - ago);
    scene.me(&scene.key.token(&expired(2))).await.expect(200);
    scene.me(&scene.key.token(&expired(6))).await.expect_problem(401, "token_expired");
    let remembered = scene.key.token(&scene.claims());
    scene.me(&remembered).await.expect(200);
    scene.app.clock.advance(TimeDelta::seconds(70));
    scene.me(&remembered).await.expect_problem(401, "token_expired");
    let early = with(with(scene.claims(), "nbf", scene.now() + 3), "iat", scene.now() + 3);
    scene.me(&scene.key.token(&early)).await.expect(200);
}

#[rstest]
#[case("UPDATE clerk_memberships SET deleted = true")]
#[case("UPDATE clerk_users SET deleted = true")]
#[case("UPDATE clerk_organizations SET deleted = true")]
#[case("UPDATE clerk_organizations SET tenant_id = NULL")]
#[case("UPDATE clerk_staff SET active = false")]
#[tokio::test]
async fn whoever_is_no_member_any_more_is_out_within_seconds(#[case] end: &str) {
    let scene = Scene::start().await;
    let token = scene.key.token(&scene.claims());
    scene.me(&token).await.expect(200);
    scene.app.registry_execute(end).await;
    scene
        .me(&scene.key.token(&with(scene.claims(), "jti", "new")))
        .await
        .expect_problem(401, "invalid_token");
    eventually("the remembered token is out too", async || scene.me(&token).await.status == 401)
        .await;
}

/// The audit log would say that the user did it.
#[tokio::test]
async fn nobody_calls_who_acts_as_another_user_at_clerk() {
    let scene = Scene::start().await;
    let event =
        json!({"iss": "https://dashboard.clerk.com", "sid": "sess_support", "sub": "user_support"});
    let impersonated = scene.key.token(&with(scene.claims(), "act", event));
    scene.me(&impersonated).await.expect_problem(403, "forbidden");
    scene.me(&scene.key.token(&with(scene.claims(), "act", Value::Null))).await.expect(200);
}

#[tokio::test]
async fn signing_out_here_ends_the_session_of_clerk_for_us() {
    let scene = Scene::start().await;
    let token = scene.key.token(&scene.claims());
    scene.me(&token).await.expect(200);
    let request =
        scene.app.client.request(Method::POST, format!("{}/v1/auth/logout", scene.app.url));
    assert_eq!(request.bearer_auth(&token).send().await.unwrap().status(), 204);
    scene.me(&token).await.expect_problem(401, "token_revoked");
    let next = with(scene.claims(), "jti", "the next of the same session");
    scene.me(&scene.key.token(&next)).await.expect_problem(401, "token_revoked");
    let other = with(scene.claims(), "sid", "sess_other");
    scene.me(&scene.key.token(&other)).await.expect(200);
    // Clerk goes on with its session for days, and so does the memory of its end here.
    let long = "SELECT count(*) FROM revoked_tokens WHERE expires_at > now() + interval '20 days'";
    assert_eq!(scene.app.registry_count(long).await, 1);
    let own = scene.app.register().await;
    own.post("/v1/auth/logout", json!({})).await;
    own.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
    assert_eq!(scene.app.registry_count(long).await, 1);
}

#[tokio::test]
async fn a_new_key_is_read_when_a_token_names_it_and_made_up_names_cost_nothing() {
    let scene = Scene::start().await;
    let second = ClerkKey::second();
    scene.me(&scene.key.token(&scene.claims())).await.expect(200);
    assert_eq!(scene.instance.asked(), 1);
    scene.app.clock.advance(TimeDelta::seconds(31));
    scene.instance.serve(&[&scene.key, &second]);
    let tokens: Vec<_> = (0..20)
        .map(|n| {
            let header = json!({"alg": "RS256", "kid": format!("made_up_{n}")});
            second.token_of(&header, &scene.claims())
        })
        .collect();
    for answer in futures_util::future::join_all(tokens.iter().map(|token| scene.me(token))).await {
        answer.expect_problem(401, "invalid_token");
    }
    assert_eq!(scene.instance.asked(), 2);
    scene.me(&second.token(&scene.claims())).await.expect(200);
    assert_eq!(scene.instance.asked(), 2, "it was read with the others");
}

#[tokio::test]
async fn many_first_tokens_cost_one_reading() {
    let scene = Scene::start().await;
    let tokens: Vec<_> =
        (0..20).map(|n| scene.key.token(&with(scene.claims(), "jti", format!("n{n}")))).collect();
    for answer in futures_util::future::join_all(tokens.iter().map(|token| scene.me(token))).await {
        answer.expect(200);
    }
    assert_eq!(scene.instance.asked(), 1);
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_our_trouble_and_not_the_callers() {
    let scene = Scene::start().await;
    let token = scene.key.token(&with(scene.claims(), "exp", scene.now() + 600));
    let long = json!({"keys": [scene.key.jwk()], "padding": "x".repeat(300_000)}).to_string();
    let failures = [
        ("500 Internal Server Error", "{}"),
        ("404 Not Found", ""),
        ("302 Found", ""),
        ("200 OK", "no JSON"),
        ("200 OK", r#"{"keys": []}"#),
        ("200 OK", r#"{"keys": [{"kty": "EC", "kid": "ins_first", "crv": "P-256"}, 7, null]}"#),
        ("200 OK", r#"{"keys": [{"kty": "RSA", "kid": "ins_first", "n": "AQAB", "e": "AQAB"}]}"#),
        ("200 OK", &long),
    ];
    for (asked, (status, body)) in (1..).zip(failures) {
        scene.instance.answer(status, body);
        scene.me(&token).await.expect_problem(503, "busy");
        scene.me(&token).await.expect_problem(503, "busy");
        assert_eq!(scene.instance.asked(), asked, "it is left alone for a moment");
        // Our own tokens do not depend on it.
        scene.owner.get("/v1/members").await.expect(200);
        scene.app.clock.advance(TimeDelta::seconds(3));
    }
    scene.instance.serve(&[&scene.key]);
    scene.me(&token).await.expect(200);
}

#[tokio::test]
async fn known_keys_serve_on_while_clerk_is_away() {
    let scene = Scene::start().await;
    scene.me(&scene.key.token(&scene.claims())).await.expect(200);
    scene.instance.answer("503 Service Unavailable", "");
    scene.app.clock.advance(TimeDelta::hours(2));
    scene.me(&scene.key.token(&scene.claims())).await.expect(200);
    assert_eq!(scene.instance.asked(), 2);
    // A key that has been taken back is believed until the keys can be read again.
    scene.instance.serve(&[&ClerkKey::second()]);
    scene.app.clock.advance(TimeDelta::hours(2));
    scene.me(&scene.key.token(&scene.claims())).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_clerk_that_says_nothing_is_not_waited_for_long() {
    let scene = Scene::start().await;
    scene.instance.fall_silent();
    let begun = std::time::Instant::now();
    scene.me(&scene.key.token(&scene.claims())).await.expect_problem(503, "busy");
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
}

#[tokio::test]
async fn without_an_instance_no_token_of_clerk_is_believed() {
    let scene = Scene::start().await;
    let app = TestApp::start().await;
    let token = scene.key.token(&scene.claims());
    let request = app.client.get(format!("{}/v1/auth/me", app.url)).bearer_auth(&token);
    Answer::of(request.send().await.unwrap()).await.expect_problem(401, "invalid_token");
    assert_eq!(scene.instance.asked(), 0);
}

#[rstest]
#[case("suspended", 403, "tenant_suspended")]
#[case("deleted", 403, "tenant_deleted")]
#[case("purging", 403, "tenant_deleted")]
#[case("provisioning", 503, "tenant_provisioning")]
#[case("failed", 503, "tenant_failed")]
#[tokio::test]
async fn the_status_of_the_tenant_decides_over_tokens_of_clerk_too(
    #[case] status: &str,
    #[case] answer: u16,
    #[case] code: &str,
) {
    let scene = Scene::start().await;
    let remembered = scene.key.token(&scene.claims());
    scene.me(&remembered).await.expect(200);
    scene.app.registry_execute(&format!("UPDATE tenants SET status = '{status}'")).await;
    scene.app.router.directory().forget(scene.owner.tenant_id);
    let new = scene.key.token(&with(scene.claims(), "jti", "new"));
    for token in [&remembered, &new] {
        scene.me(token).await.expect_problem(answer, code);
        scene.call("/v1/members", token).await.expect_problem(answer, code);
    }
}

#[tokio::test]
async fn a_token_of_clerk_for_a_tenant_that_is_gone_speaks_for_nobody() {
    let scene = Scene::start().await;
    let token = scene.key.token(&scene.claims());
    scene.app.registry_execute("DELETE FROM tenants").await;
    scene.app.router.directory().forget(scene.owner.tenant_id);
    scene.me(&token).await.expect_problem(401, "invalid_token");
    scene.call("/v1/members", &token).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_token_of_clerk_reaches_its_own_tenant_and_no_other() {
    let scene = Scene::start().await;
    let other = scene.app.register().await;
    other.add_member("Eve", "+13125550102").await;
    let token = scene.key.token(&scene.claims());
    let list = scene.call("/v1/members", &token).await.expect(200);
    assert_eq!(list["data"], json!([]));
    let request = scene.app.client.get(format!("{}/v1/members", scene.app.url)).bearer_auth(&token);
    let request = request.header("x-tenant-id", other.tenant_id.to_string());
    Answer::of(request.send().await.unwrap()).await.expect_problem(403, "tenant_mismatch");
}
