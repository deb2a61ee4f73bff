//! Requests that are bent before any field is read: paths, methods, headers, ids.

use reqwest::Method;
use rstest::rstest;

use super::quiet::{quiet, send};
use super::raw;

#[rstest]
#[case("7")]
#[case("not-an-id")]
#[case("00000000-0000-7000-8000-00000000000g")]
#[case("%00")]
#[case("%FF")]
#[case("%2e%2e%2fadmin")]
#[case("1%27%20OR%20%271%27=%271")]
#[tokio::test]
async fn what_is_no_id_names_nothing(#[case] id: &str) {
    for collection in ["members", "branches", "conversations"] {
        let path = format!("/v1/{collection}/{id}");
        quiet().get(&path).await.expect_problem(404, "not_found");
    }
    for collection in ["members", "branches"] {
        let path = format!("/v1/{collection}/{id}");
        let delete = quiet().request(Method::DELETE, &path);
        send(delete).await.expect_problem(404, "not_found");
        let patch = quiet().request(Method::PATCH, &path).json(&serde_json::json!({}));
        send(patch).await.expect_problem(404, "not_found");
    }
    for path in [
        format!("/v1/conversations/{id}/messages"),
        format!("/v1/registrations/{id}"),
        format!("/problems/{id}"),
    ] {
        quiet().get(&path).await.expect_problem(404, "not_found");
    }
    quiet().expect_untouched().await;
}

#[rstest]
#[case("/v1")]
#[case("/v1/")]
#[case("/v1/members/")]
#[case("//v1/members")]
#[case("/v1/nothing")]
#[case("/V1/members")]
#[case("/v1/members/../auth/me/x")]
#[case("/%")]
#[case("/%FF%FE")]
#[case("/docs/no-such-file.js")]
#[tokio::test]
async fn an_unknown_path_is_a_problem_404(#[case] path: &str) {
    let answer = raw::send(&quiet().url, raw::head(&format!("GET {path}"), &[])).await;
    answer.expect_problem(404, "not_found");
}

#[rstest]
#[case("/v1/members", &["GET", "HEAD", "POST"])]
#[case("/v1/branches", &["GET", "HEAD", "POST"])]
#[case("/v1/conversations", &["GET", "HEAD"])]
#[case("/v1/auth/login", &["POST"])]
#[case("/v1/auth/me", &["GET", "HEAD"])]
#[case("/webhooks/telnyx", &["POST"])]
#[case("/healthz", &["GET", "HEAD"])]
#[case("/", &["GET", "HEAD"])]
#[case("/openapi.json", &["GET", "HEAD"])]
#[case("/docs/", &["GET", "HEAD"])]
#[tokio::test]
async fn other_methods_are_refused_and_those_allowed_are_listed(
    #[case] path: &str,
    #[case] allowed: &[&str],
) {
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        if allowed.contains(&method) {
            continue;
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = send(quiet().request(method, path)).await;
        answer.expect_problem(405, "method_not_allowed");
        let allow = answer.headers["allow"].to_str().unwrap().to_owned();
        let mut listed: Vec<&str> = allow.split(',').map(str::trim).collect();
        listed.sort_unstable();
        assert_eq!(listed, allowed, "{path}");
    }
    quiet().expect_untouched().await;
}

#[tokio::test]
async fn head_answers_as_get_does_without_a_body() {
    let all = ["/v1/members", "/v1/nothing", "/v1/members?limit=0", "/healthz", "/openapi.json"];
    for path in all {
        let get = quiet().get(path).await;
        let head = send(quiet().request(Method::HEAD, path)).await;
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.headers["content-type"], get.headers["content-type"], "{path}");
        assert!(head.bytes.is_empty());
    }
    let anonymous = quiet().anonymous(Method::HEAD, "/v1/members");
    assert_eq!(send(anonymous).await.status, 401);
}

#[rstest]
#[case(b"CONNECT narthex.test:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", &[404, 405])]
#[case(b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", &[404, 405])]
#[case(b"GET healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", &[400, 404])]
#[case(b"GET /v1/\xFF HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", &[400, 404])]
#[case(b"GET /v1/members?q=\xFF HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", &[400, 401])]
#[case(b"GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n", &[400])]
#[case(b"nonsense\r\n\r\n", &[400])]
#[case(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[400])]
#[case(b"GET / HTTP/9.9\r\n\r\n", &[400, 505])]
#[case(b"POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", &[400])]
#[case(b"POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef", &[400])]
#[case(b"POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", &[400])]
#[tokio::test]
async fn what_is_hardly_http_is_answered_4xx(#[case] bytes: &[u8], #[case] statuses: &[u16]) {
    let answer = raw::send(&quiet().url, bytes.to_vec()).await;
    assert!(statuses.contains(&answer.status), "{}", answer.status);
    quiet().get("/healthz").await.expect(200);
}

#[tokio::test]
async fn bytes_in_headers_that_are_no_utf8_are_answered() {
    let authorization = format!("authorization: Bearer {}", quiet().token);
    let mut bytes = raw::head("GET /v1/auth/me", &[&authorization, "x-other: Q", "user-agent: Q"]);
    bytes.iter_mut().filter(|byte| **byte == b'Q').for_each(|byte| *byte = 0xFF);
    // A token might have a Q, too.
    let expected = if quiet().token.contains('Q') { 401 } else { 200 };
    assert_eq!(raw::send(&quiet().url, bytes).await.status, expected);

    for (header, code) in [("authorization: Bearer ~", 401), ("x-tenant-id: ~", 403)] {
        let own = if code == 403 { authorization.as_str() } else { "x-other: y" };
        let mut bytes = raw::head("GET /v1/auth/me", &[own, header]);
        bytes.iter_mut().filter(|byte| **byte == b'~').for_each(|byte| *byte = 0xFF);
        assert_eq!(raw::send(&quiet().url, bytes).await.status, code);
    }
}

#[rstest]
#[case::many(vec!["x-flood: 1".to_owned(); 5000])]
#[case::long(vec![format!("x-flood: {}", "x".repeat(1024 * 1024))])]
#[case::long_token(vec![format!("authorization: Bearer {}", "x".repeat(1024 * 1024))])]
#[tokio::test]
async fn a_flood_of_headers_is_cut_off_with_431(#[case] headers: Vec<String>) {
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let answer = raw::send(&quiet().url, raw::head("GET /v1/auth/me", &headers)).await;
    assert_eq!(answer.status, 431);
    quiet().get("/healthz").await.expect(200);
}

#[tokio::test]
async fn an_absurdly_long_path_is_refused() {
    for length in [4000, 30_000, 100_000] {
        let line = format!("GET /v1/{}", "x".repeat(length));
        let status = raw::send(&quiet().url, raw::head(&line, &[])).await.status;
        assert!([404, 414, 431].contains(&status), "{length}: {status}");
    }
}
