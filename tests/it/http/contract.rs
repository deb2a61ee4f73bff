//! The promises that hold for every answer, and what the gateway says about itself.

use crate::support::TestApp;
use narthex::http::{Code, openapi_document};
use reqwest::Method;
use rstest::rstest;
use serde_json::Value;

use super::quiet::{quiet, send};

#[rstest]
#[case("abcd1234")]
#[case("0189c7e2-7b1c-7000-8000-000000000001")]
#[case("With_Under-Score-9")]
#[case(&"x".repeat(64))]
#[tokio::test]
async fn a_valid_request_id_is_kept(#[case] id: &str) {
    for path in ["/healthz", "/v1/members", "/v1/nothing"] {
        let answer = send(quiet().anonymous(Method::GET, path).header("x-request-id", id)).await;
        assert_eq!(answer.headers["x-request-id"], id);
        assert!(answer.status == 200 || answer.body["request_id"] == id);
    }
}

#[rstest]
#[case("short")]
#[case(&"x".repeat(65))]
#[case("with space 1")]
#[case("<script>alert</script>")]
#[case("ümläütümläüt")]
#[case("")]
#[tokio::test]
async fn another_request_id_is_replaced(#[case] id: &str) {
    let call = quiet().anonymous(Method::GET, "/v1/members").header("x-request-id", id.as_bytes());
    let answer = send(call).await;
    answer.expect_problem(401, "invalid_token");
    let given = answer.headers["x-request-id"].to_str().unwrap();
    assert!(given.parse::<uuid::Uuid>().is_ok(), "{given}");
}

#[tokio::test]
async fn two_requests_have_two_ids() {
    let first = quiet().get("/healthz").await;
    let second = quiet().get("/healthz").await;
    assert_ne!(first.headers["x-request-id"], second.headers["x-request-id"]);
}

#[tokio::test]
async fn a_problem_is_a_whole_problem_document() {
    let answer = quiet().get("/v1/nothing").await;
    answer.expect_problem(404, "not_found");
    let keys: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "detail", "request_id", "status", "title", "type"]);
    let refused = send(quiet().anonymous(Method::GET, "/v1/members")).await;
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn the_served_document_is_the_printed_one_and_names_every_error_shape() {
    let served = quiet().get("/openapi.json").await.expect(200);
    assert_eq!(served, serde_json::from_str::<Value>(&openapi_document().unwrap()).unwrap());
    assert!(served["openapi"].as_str().unwrap().starts_with("3."));
    let referred = served.to_string();
    for part in referred.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(served["components"]["schemas"].get(name).is_some(), "{name} is not defined");
    }
}

/// The values of an attribute in an HTML page.
/// Generators make functions of them.
#[test]
fn every_operation_has_a_name_of_its_own() {
    let document: Value = serde_json::from_str(&openapi_document().unwrap()).unwrap();
    let items = document["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let mut names: Vec<_> = operations.map(|o| o["operationId"].as_str().unwrap()).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

fn attribute<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!("{name}=\"");
    page.split(&*begin).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[tokio::test]
async fn the_page_of_the_documentation_works_without_the_internet() {
    let page = quiet().get("/docs/").await;
    assert_eq!(page.status, 200);
    let text = String::from_utf8(page.bytes).unwrap();
    let parts: Vec<&str> = [attribute(&text, "src"), attribute(&text, "href")].concat();
    assert!(parts.len() >= 3, "{parts:?}");
    for part in parts {
        assert!(!part.contains("//"), "{part} is not ours");
        let answer = quiet().get(&format!("/docs/{}", part.trim_start_matches("./"))).await;
        assert_eq!(answer.status, 200, "{part}");
    }
    let start = quiet().get("/docs/swagger-initializer.js").await;
    let start = String::from_utf8(start.bytes).unwrap();
    assert!(start.contains("/openapi.json"), "{start}");
    assert!(!start.contains("://"), "{start}");
    // Without this the page asks a validator on the internet wherever it is not served from localhost.
    assert!(start.contains(r#""validatorUrl": "none""#), "{start}");
}

#[tokio::test]
async fn the_bare_address_and_the_bare_folder_lead_to_the_documentation() {
    for (path, status) in [("/", 307), ("/docs", 303)] {
        let answer = quiet().get(path).await;
        assert_eq!(
            (answer.status, answer.headers["location"].to_str().unwrap()),
            (status, "/docs/")
        );
    }
}

#[tokio::test]
async fn every_code_has_a_page() {
    for code in Code::ALL {
        let page = quiet().get(&format!("/problems/{}", code.as_str())).await;
        assert_eq!(page.status, 200, "{}", code.as_str());
        assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
        let text = String::from_utf8(page.bytes).unwrap();
        assert!(text.contains(code.as_str()) && text.contains(code.meaning()));
    }
}

#[test]
fn every_code_that_clients_must_know_is_there_with_its_status() {
    let documented = [
        (401, "invalid_token token_expired token_revoked invalid_credentials"),
        (403, "forbidden tenant_suspended tenant_mismatch tenant_deleted"),
        (404, "not_found tenant_not_found"),
        (405, "method_not_allowed"),
        (409, "email_taken slug_taken conflict tenant_selection_required"),
        (413, "body_too_large"),
        (415, "unsupported_media_type"),
        (400, "malformed_body malformed_request malformed_event"),
        (422, "validation_failed"),
        (503, "busy tenant_failed tenant_database_unavailable tenant_provisioning"),
        (503, "tenant_schema_outdated pool_busy router_saturated registry_unavailable draining"),
    ];
    for (status, codes) in documented {
        for code in codes.split(' ') {
            let found = Code::ALL.iter().find(|known| known.as_str() == code);
            assert_eq!(found.map(|code| code.status().as_u16()), Some(status), "{code}");
        }
    }
}

#[tokio::test]
async fn the_published_key_is_the_public_half_of_the_one_that_signs() {
    use base64::Engine;
    let keys = quiet().get("/.well-known/jwks.json").await.expect(200);
    let public = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&quiet().key.public_key);
    let expected = serde_json::json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "x": public, "kid": quiet().key.kid, "use": "sig", "alg": "EdDSA"},
    ]});
    assert_eq!(keys, expected);
}

#[test]
fn the_document_in_the_repository_is_the_one_that_is_served() {
    let kept = include_str!("../../../docs/openapi.json").trim_end();
    assert!(kept == narthex::http::openapi_document().unwrap(), "run ./scripts/update");
}

/// Not even the beginning of HTTP/2 holds a place for ever.
#[rstest]
#[case(b"")]
#[case(b"P")]
#[case(b"PRI * HTTP/2.0")]
#[case(b"GET / HTTP/1.1\r\nhost:")]
#[tokio::test]
async fn a_client_that_falls_silent_is_hung_up_on(#[case] begun: &[u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let app = TestApp::start_with(Box::new(|settings| {
        settings.http.header_timeout = std::time::Duration::from_millis(300);
    }))
    .await;
    let mut socket =
        tokio::net::TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap();
    socket.write_all(begun).await.unwrap();
    let mut rest = Vec::new();
    let ended =
        tokio::time::timeout(std::time::Duration::from_secs(20), socket.read_to_end(&mut rest));
    let _ = ended.await.expect("the connection is still open");
}
