//! Bodies that are no JSON object, too large, of another type, or unfinished.

use rstest::rstest;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::quiet::{quiet, send};
use super::raw::{self, Then};
use crate::support::TestApp;

const TWO_MIB: usize = 2 * 1024 * 1024;

#[rstest]
#[case::cut_off(br#"{"first_name": "Ada""#.to_vec())]
#[case::two_objects(b"{} {}".to_vec())]
#[case::array(b"[]".to_vec())]
#[case::text(br#""text""#.to_vec())]
#[case::null(b"null".to_vec())]
#[case::number(b"1".to_vec())]
#[case::infinite_number(br#"{"first_name": 1e999}"#.to_vec())]
#[case::only_white_space(b" \n".to_vec())]
#[case::lone_surrogate(br#"{"first_name": "\ud800"}"#.to_vec())]
#[case::raw_nul(b"{\"first_name\": \"A\0da\"}".to_vec())]
#[case::invalid_utf8(b"{\"first_name\": \"A\xFFda\"}".to_vec())]
#[case::overlong_utf8(b"{\"first_name\": \"\xC0\x80\"}".to_vec())]
#[case::byte_order_mark(b"\xEF\xBB\xBF{}".to_vec())]
#[case::utf16("{}".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>())]
#[case::deep_arrays("[".repeat(100_000).into_bytes())]
#[case::deep_objects(r#"{"tags":"#.repeat(100_000).into_bytes())]
#[case::deep_below_a_field(format!(r#"{{"tags":{}{}}}"#, "[".repeat(500), "]".repeat(500)).into_bytes())]
#[tokio::test]
async fn a_body_that_is_no_json_object_is_malformed(#[case] body: Vec<u8>) {
    for call in quiet().calls_with_body() {
        let call = call.header("content-type", "application/json").body(body.clone());
        send(call).await.expect_problem(400, "malformed_body");
    }
    quiet().expect_untouched().await;
}

#[tokio::test]
async fn an_empty_body_is_malformed_where_one_is_needed() {
    for call in quiet().calls_that_need_a_body() {
        let call = call.header("content-type", "application/json");
        send(call).await.expect_problem(400, "malformed_body");
    }
    quiet().expect_untouched().await;
}

#[rstest]
#[case(Some("text/plain"))]
#[case(Some("application/x-www-form-urlencoded"))]
#[case(Some("multipart/form-data; boundary=x"))]
#[case(Some("application/jsonp"))]
#[case(Some(""))]
#[case(None)]
#[tokio::test]
async fn a_body_of_another_type_is_refused(#[case] content_type: Option<&str>) {
    for call in quiet().calls_with_body() {
        let call = match content_type {
            Some(content_type) => call.header("content-type", content_type),
            None => call,
        };
        send(call.body("{}")).await.expect_problem(415, "unsupported_media_type");
    }
    quiet().expect_untouched().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_an_answer_that_arrives() {
    let text = format!(r#"{{"first_name": "{}"}}"#, "x".repeat(TWO_MIB));
    for _ in 0..5 {
        for call in quiet().calls_with_body() {
            let call = call.header("content-type", "application/json").body(text.clone());
            send(call).await.expect_problem(413, "body_too_large");
        }
    }
    quiet().expect_untouched().await;
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_refused() {
    let authorization = format!("authorization: Bearer {}", quiet().token);
    let headers = [&*authorization, "content-type: application/json", "transfer-encoding: chunked"];
    let mut bytes = raw::head("POST /v1/members", &headers);
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    bytes.extend(chunk.repeat(TWO_MIB / 0x10000));
    bytes.extend(b"0\r\n\r\n");
    raw::send(&quiet().url, bytes).await.expect_problem(413, "body_too_large");
    quiet().expect_untouched().await;
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_leaves_the_connection_whole() {
    let mut socket = raw::connect(&quiet().url).await;
    let head = "POST /v1/members HTTP/1.1\r\nhost: x\r\ncontent-length: 2097152\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    raw::receive(&mut socket).await.expect_problem(401, "invalid_token");
    // A client that only now sends its body must not be met by a reset.
    socket.write_all(&vec![b'x'; TWO_MIB]).await.unwrap();
    socket.write_all(&raw::head("GET /healthz", &[])).await.unwrap();
    raw::receive(&mut socket).await.expect(200);
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_read() {
    let padded = format!("{{}}{}", " ".repeat(1024 * 1024 - 2));
    let call = quiet().request(reqwest::Method::POST, "/v1/members");
    let call = call.header("content-type", "application/json").body(padded);
    send(call).await.expect_problem(422, "validation_failed");
}

#[tokio::test]
async fn a_body_that_ends_half_way_is_malformed() {
    let authorization = format!("authorization: Bearer {}", quiet().token);
    for length in ["content-length: 100", "transfer-encoding: chunked"] {
        let headers = [&*authorization, "content-type: application/json", length];
        let mut bytes = raw::head("POST /v1/members", &headers);
        bytes.extend(b"10\r\n{\"first");
        let answer = raw::exchange(&quiet().url, bytes, Then::CloseWriting).await;
        answer.expect_problem(400, "malformed_body");
    }
    quiet().expect_untouched().await;
}

#[tokio::test]
async fn a_body_that_stops_half_way_does_not_hold_the_request_for_ever() {
    let timeout = std::time::Duration::from_millis(500);
    let app =
        TestApp::start_with(Box::new(move |settings| settings.http.request_timeout = timeout))
            .await;
    let headers = ["content-type: application/json", "content-length: 100"];
    let mut bytes = raw::head("POST /v1/auth/login", &headers);
    bytes.extend(b"{\"email\": ");
    raw::send(&app.url, bytes).await.expect_problem(503, "busy");
}

#[tokio::test]
async fn a_parameter_of_the_content_type_and_the_case_do_not_matter() {
    for content_type in ["Application/JSON; charset=utf-8", "application/problem+json"] {
        let call = quiet().request(reqwest::Method::POST, "/v1/members");
        let call = call.header("content-type", content_type).body(json!({}).to_string());
        send(call).await.expect_problem(422, "validation_failed");
    }
}
