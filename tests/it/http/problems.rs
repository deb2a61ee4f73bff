//! What a problem looks like to a client: every code, and the body of one answer for each way to be refused. A change of either is a
//! change of the contract.

use narthex::http::Code;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::quiet::{quiet, send};

#[tokio::test]
async fn every_code_has_its_status_and_its_page() {
    let mut pages = Vec::new();
    for code in Code::ALL {
        let page = quiet().get(&format!("/problems/{}", code.as_str())).await;
        let text = String::from_utf8(page.bytes).unwrap();
        assert_eq!(page.status, 200, "{text}");
        pages.push(format!("{}\n{text}", code.status()));
    }
    insta::assert_snapshot!(pages.join("\n\n"));
}

fn refused_calls() -> Vec<(&'static str, RequestBuilder)> {
    let quiet = quiet();
    let json = |call: RequestBuilder, body: &'static str| {
        call.header("content-type", "application/json").body(body)
    };
    let members = || quiet.request(Method::POST, "/v1/members");
    vec![
        ("no token", quiet.anonymous(Method::GET, "/v1/members")),
        ("a token that is none", quiet.anonymous(Method::GET, "/v1/members").bearer_auth("x")),
        ("a member that is not there", quiet.request(Method::GET, "/v1/members/1")),
        ("no such route", quiet.request(Method::GET, "/v1/nothing")),
        ("a method that is not allowed", quiet.request(Method::PUT, "/v1/members")),
        (
            "two organizations",
            quiet.request(Method::GET, "/v1/members").header("x-tenant-id", "other"),
        ),
        ("no body", members()),
        ("a body that is no JSON", json(members(), "{")),
        (
            "fields that are wrong",
            json(members(), r#"{"first_name": 1, "phone_number": "1", "x": 1}"#),
        ),
        ("a parameter that is wrong", quiet.request(Method::GET, "/v1/members?limit=0&x=1")),
        (
            "a wrong password",
            json(
                quiet.anonymous(Method::POST, "/v1/auth/login"),
                r#"{"email": "nobody@example.org", "password": "wrong password"}"#,
            ),
        ),
        ("an unsigned webhook", json(quiet.anonymous(Method::POST, "/webhooks/telnyx"), "{}")),
    ]
}

#[tokio::test]
async fn a_refusal_has_the_same_body_each_time() {
    let mut answers = Vec::new();
    for (what, call) in refused_calls() {
        let answer = send(call).await;
        let mut body = answer.body;
        assert_eq!(body["request_id"], answer.headers["x-request-id"].to_str().unwrap());
        body["request_id"] = Value::from("[id]");
        answers.push(format!("{what}: {}\n{body:#}", answer.status));
    }
    insta::assert_snapshot!(answers.join("\n\n"));
}
