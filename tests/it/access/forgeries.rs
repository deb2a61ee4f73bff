//! Access tokens that are not ours, or not as we made them: all of them are simply invalid.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use ring::hmac;
use ring::signature::Ed25519KeyPair;
use rstest::rstest;
use serde_json::{Value, json};

use crate::http::quiet::{quiet, send};
use crate::http::raw;
use crate::support::Answer;

/// What a forger has: a good token, the public key, and (to see what else is checked) even the key itself.
struct Forger {
    header: Value,
    claims: Value,
}

impl Forger {
    fn new() -> Self {
        let parts: Vec<&str> = quiet().token.split('.').collect();
        let part =
            |i: usize| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[i]).unwrap()).unwrap();
        Self { header: part(0), claims: part(1) }
    }

    fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    fn without_header(mut self, name: &str) -> Self {
        self.header.as_object_mut().unwrap().remove(name);
        self
    }

    fn without_claim(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    fn message(&self) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", part(&self.header), part(&self.claims))
    }

    fn signed_by(&self, seed: &[u8]) -> String {
        let message = self.message();
        let key = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes())))
    }

    fn signed(&self) -> String {
        self.signed_by(&quiet().key.seed)
    }

    fn hs256(self, secret: &[u8]) -> String {
        let message = self.header("alg", "HS256").message();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// The good signature under another message.
    fn with_stolen_signature(&self) -> String {
        format!("{}.{}", self.message(), quiet().token.rsplit('.').next().unwrap())
    }
}

fn public_key_as_text() -> String {
    URL_SAFE_NO_PAD.encode(&quiet().key.public_key)
}

async fn me(authorization: &str) -> Answer {
    let call = quiet().anonymous(Method::GET, "/v1/auth/me");
    send(call.header("authorization", authorization)).await
}

#[tokio::test]
async fn what_the_forger_makes_with_the_real_key_is_believed() {
    me(&format!("Bearer {}", Forger::new().signed())).await.expect(200);
}

type Forgery = fn(Forger) -> String;

#[rstest]
#[case::another_key(|f: Forger| f.signed_by(&[7; 32]))]
#[case::alg_none(|f: Forger| f.header("alg", "none").message() + ".")]
#[case::alg_none_in_capitals(|f: Forger| f.header("alg", "NONE").message() + ".")]
#[case::alg_none_with_the_real_signature(|f: Forger| f.header("alg", "none").with_stolen_signature())]
#[case::no_signature(|f: Forger| f.message() + ".")]
#[case::two_parts(|f: Forger| f.message())]
#[case::four_parts(|f: Forger| f.signed() + ".AAAA")]
#[case::hmac_with_the_public_key(|f: Forger| f.hs256(&quiet().key.public_key))]
#[case::hmac_with_the_public_key_as_text(|f: Forger| f.hs256(public_key_as_text().as_bytes()))]
#[case::another_algorithm_signed(|f: Forger| f.header("alg", "ES256").signed())]
#[case::no_algorithm(|f: Forger| f.without_header("alg").signed())]
#[case::another_tenant(|f: Forger| f.claim("tid", uuid::Uuid::new_v4().to_string()).with_stolen_signature())]
#[case::another_role(|f: Forger| f.claim("role", "admin").with_stolen_signature())]
#[case::longer_life(|f: Forger| f.claim("exp", 9_999_999_999_u64).with_stolen_signature())]
#[case::an_unknown_tenant_truly_signed(|f: Forger| f.claim("tid", uuid::Uuid::new_v4().to_string()).signed())]
#[case::unknown_kid(|f: Forger| f.header("kid", "0000000000000000").signed())]
#[case::kid_as_path(|f: Forger| f.header("kid", "../../../dev/null").signed_by(&[0; 32]))]
#[case::kid_as_sql(|f: Forger| f.header("kid", "' OR '1'='1").signed())]
#[case::kid_in_another_case(|f: Forger| { let kid = quiet().key.kid.to_uppercase() + " "; f.header("kid", kid).signed() })]
#[case::kid_of_another_type(|f: Forger| f.header("kid", 1).signed())]
#[case::no_kid(|f: Forger| f.without_header("kid").signed())]
#[case::own_key_in_the_header(|f: Forger| {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": public_key_as_text()});
    f.without_header("kid").header("jwk", jwk).signed_by(&[7; 32])
})]
#[case::wrong_audience(|f: Forger| f.claim("aud", "narthex:operator").signed())]
#[case::no_audience(|f: Forger| f.without_claim("aud").signed())]
#[case::wrong_issuer(|f: Forger| f.claim("iss", "https://elsewhere.example").signed())]
#[case::no_issuer(|f: Forger| f.without_claim("iss").signed())]
#[case::no_end(|f: Forger| f.without_claim("exp").signed())]
#[case::end_as_text(|f: Forger| f.claim("exp", "9999999999").signed())]
#[case::end_too_large(|f: Forger| f.claim("exp", 1e300).signed())]
#[case::end_far_below_zero(|f: Forger| f.claim("exp", i64::MIN).signed())]
#[case::no_subject(|f: Forger| f.without_claim("sub").signed())]
#[case::subject_that_is_no_id(|f: Forger| f.claim("sub", "root").signed())]
#[case::no_session(|f: Forger| f.without_claim("sid").signed())]
#[case::claims_that_are_no_object(|mut f: Forger| { f.claims = json!([1]); f.signed() })]
#[case::nothing(|_: Forger| String::new())]
#[case::dots(|_: Forger| "...".to_owned())]
#[case::words(|_: Forger| "let.me.in".to_owned())]
#[case::not_base64(|_: Forger| "!!!.???.###".to_owned())]
#[case::long(|_: Forger| "x".repeat(20_000))]
#[case::long_and_dotted(|_: Forger| ".".repeat(20_000))]
#[tokio::test]
async fn a_token_that_is_not_ours_is_invalid(#[case] forgery: Forgery) {
    let token = forgery(Forger::new());
    for path in ["/v1/auth/me", "/v1/members"] {
        let answer = send(quiet().anonymous(Method::GET, path).bearer_auth(&token)).await;
        answer.expect_problem(401, "invalid_token");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
}

#[tokio::test]
async fn a_token_that_we_signed_long_ago_has_expired() {
    let token = Forger::new().claim("exp", 1_700_000_000).signed();
    me(&format!("Bearer {token}")).await.expect_problem(401, "token_expired");
    let token = Forger::new().claim("exp", 0).signed();
    me(&format!("Bearer {token}")).await.expect_problem(401, "token_expired");
}

#[tokio::test]
async fn every_single_changed_character_of_a_token_matters() {
    let token = &quiet().token;
    for position in (0..token.len()).step_by(7) {
        let mut changed = token.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        me(&format!("Bearer {changed}")).await.expect_problem(401, "invalid_token");
    }
}

#[rstest]
#[case("Bearer")]
#[case("Bearer ")]
#[case("Basic {token}")]
#[case("{token}")]
#[case("Token {token}")]
#[case("Bearer {token} {token}")]
#[case("Bearer {token},Bearer {token}")]
#[case("Bearer\t{token}")]
#[tokio::test]
async fn another_scheme_than_bearer_is_no_token(#[case] template: &str) {
    let value = template.replace("{token}", &quiet().token);
    me(&value).await.expect_problem(401, "invalid_token");
}

#[rstest]
#[case("bearer {token}")]
#[case("BEARER {token}")]
#[case("Bearer   {token}  ")]
#[tokio::test]
async fn the_case_of_the_scheme_does_not_matter(#[case] template: &str) {
    me(&template.replace("{token}", &quiet().token)).await.expect(200);
}

#[tokio::test]
async fn two_tokens_are_none() {
    let line = format!("authorization: Bearer {}", quiet().token);
    let bytes = raw::head("GET /v1/auth/me", &[&line, &line]);
    raw::send(&quiet().url, bytes).await.expect_problem(401, "invalid_token");
    // What a proxy is shown is no token.
    let bytes = raw::head("GET /v1/auth/me", &[&line, "authorization: Basic eA=="]);
    raw::send(&quiet().url, bytes).await.expect(200);
    let bytes = raw::head("GET /v1/auth/me", &[&line, &line, "authorization: Basic eA=="]);
    raw::send(&quiet().url, bytes).await.expect_problem(401, "invalid_token");
}

#[rstest]
#[case("cookie: access_token={token}")]
#[case("x-access-token: {token}")]
#[tokio::test]
async fn a_token_elsewhere_is_not_seen(#[case] header: &str) {
    let header = header.replace("{token}", &quiet().token);
    let bytes = raw::head(&format!("GET /v1/auth/me?access_token={}", quiet().token), &[&header]);
    raw::send(&quiet().url, bytes).await.expect_problem(401, "invalid_token");
}
