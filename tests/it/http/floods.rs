//! What one client holds or costs, others do not pay for: bodies, computing, connections.

use std::time::Duration;

use reqwest::Method;
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::raw;
use crate::support::{TestApp, eventually};

const CONTACT: &str = "+14155550101";
const NUMBER: &str = "+13125550199";

/// Sends the head of a request, and the beginning of its body.
async fn begin(url: &str, line: &str, headers: &[&str], body: &str) -> TcpStream {
    let mut socket = raw::connect(url).await;
    socket.write_all(&raw::head(line, headers)).await.unwrap();
    socket.write_all(body.as_bytes()).await.unwrap();
    socket
}

/// The signature headers of an event that is signed by somebody, now.
fn plausible(app: &TestApp) -> [String; 2] {
    let now = app.clock.now().timestamp();
    let signature = app.provider.sign(now, b"another body");
    [format!("telnyx-signature-ed25519: {signature}"), format!("telnyx-timestamp: {now}")]
}

#[tokio::test]
async fn a_flood_of_silent_bodies_takes_no_room_from_anybody() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.assign_number(NUMBER, staff.tenant_id).await;
    let [signature, timestamp] = plausible(&app);
    let chunked = ["transfer-encoding: chunked", "content-type: application/json"];
    let signed: Vec<&str> = chunked.into_iter().chain([&*signature, &*timestamp]).collect();
    let mut held = Vec::new();
    for _ in 0..70 {
        held.push(begin(&app.url, "POST /webhooks/telnyx", &signed, "1\r\n{\r\n").await);
        held.push(begin(&app.url, "POST /v1/auth/login", &chunked, "1\r\n{\r\n").await);
    }
    let login = json!({"email": staff.email, "password": staff.password});
    app.call(Method::POST, "/v1/auth/login", Some(login)).await.expect(200);
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    assert_eq!(app.provider.send(&event).await.expect(200)["status"], "accepted");
}

#[rstest]
#[case::telnyx_nothing("telnyx", &[])]
#[case::telnyx_too_old("telnyx", &["telnyx-timestamp: 1700000000", "telnyx-signature-ed25519: GOOD"])]
#[case::telnyx_no_time("telnyx", &["telnyx-timestamp: now", "telnyx-signature-ed25519: GOOD"])]
#[case::telnyx_no_signature("telnyx", &["telnyx-timestamp: NOW", "telnyx-signature-ed25519: AAAA"])]
#[case::clerk_nothing("clerk", &[])]
#[case::clerk_too_old("clerk", &["svix-id: a", "svix-timestamp: 1700000000", "svix-signature: v1,GOOD"])]
#[case::clerk_no_signature("clerk", &["svix-id: a", "svix-timestamp: NOW", "svix-signature: v1,AAAA"])]
#[tokio::test]
async fn a_webhook_that_cannot_be_signed_is_refused_before_its_body(
    #[case] provider: &str,
    #[case] headers: &[&str],
) {
    let app = TestApp::start().await;
    let now = app.clock.now().timestamp();
    let good = match provider {
        "telnyx" => app.provider.sign(now, b""),
        _ => "4eSCs8AOqj1vDaMAw6Zvkf6Fx2KdK3kpo8Pt9GN3sYM=".to_owned(),
    };
    let headers: Vec<String> = headers
        .iter()
        .map(|line| line.replace("NOW", &now.to_string()).replace("GOOD", &good))
        .collect();
    let mut lines: Vec<&str> = headers.iter().map(String::as_str).collect();
    lines.push("content-length: 1000");
    let mut socket = begin(&app.url, &format!("POST /webhooks/{provider}"), &lines, "").await;
    let answer = tokio::time::timeout(Duration::from_secs(5), raw::receive(&mut socket)).await;
    answer.expect("it waits for the body").expect_problem(401, "invalid_signature");
}

#[rstest]
#[case("//webhooks/telnyx")]
#[case("/webhooks//telnyx")]
#[case("/webhooks/telnyx/")]
#[case("/webhooks/telnyx//?x=1")]
#[case("/webhooks/clerk/")]
#[tokio::test]
async fn a_slash_too_many_does_not_lose_a_webhook(#[case] path: &str) {
    let url = &super::quiet::quiet().url;
    let bytes = raw::head(&format!("POST {path}"), &["content-length: 0"]);
    raw::send(url, bytes).await.expect_problem(401, "invalid_signature");
}

#[tokio::test]
async fn a_compressed_body_is_refused_as_such_before_it_is_read() {
    let app = TestApp::start().await;
    for coding in ["gzip", "br", "identity, gzip"] {
        let headers = ["content-type: application/json", "content-length: 100"];
        let coding = format!("content-encoding: {coding}");
        let headers: Vec<&str> = headers.into_iter().chain([&*coding]).collect();
        let mut socket = begin(&app.url, "POST /v1/auth/login", &headers, "").await;
        let answer = tokio::time::timeout(Duration::from_secs(5), raw::receive(&mut socket)).await;
        let answer = answer.expect("it waits for the body");
        answer.expect_problem(415, "unsupported_media_type");
        assert_eq!(answer.headers["accept-encoding"], "identity");
    }
    let request = app.client.post(format!("{}/v1/auth/login", app.url)).json(&json!({}));
    let answer = request.header("content-encoding", "Identity").send().await.unwrap();
    assert_eq!(answer.status(), 422);
}

/// A load balancer keeps its connections for 60 s, and must not find them closed when it sends the next request.
#[tokio::test]
async fn a_connection_between_two_requests_is_kept_for_longer_than_a_new_one_that_sends_nothing() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.http.header_timeout = Duration::from_millis(200);
    }))
    .await;
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut kept = raw::connect(&app.url).await;
    kept.write_all(request).await.unwrap();
    raw::receive(&mut kept).await.expect(200);
    // By then a connection that was opened later has been closed for its silence.
    let mut silent = raw::connect(&app.url).await;
    assert!(ended(&mut silent).await);
    kept.write_all(request).await.unwrap();
    raw::receive(&mut kept).await.expect(200);
    // The next head has to come in one go, too.
    kept.write_all(b"GET /healthz").await.unwrap();
    assert!(ended(&mut kept).await);
}

/// Is the connection closed within some seconds? Reads and forgets what comes before.
async fn ended(socket: &mut TcpStream) -> bool {
    let end = async {
        let mut rest = [0; 4096];
        while !matches!(socket.read(&mut rest).await, Ok(0) | Err(_)) {}
    };
    tokio::time::timeout(Duration::from_secs(10), end).await.is_ok()
}

#[rstest]
#[case::in_silence("1\r\n{\r\n")]
#[case::before_it_has_begun("")]
#[tokio::test]
async fn a_body_that_does_not_come_is_answered_408_within_seconds(#[case] body: &str) {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.http.body_silence = Duration::from_millis(200);
    }))
    .await;
    let headers = ["transfer-encoding: chunked", "content-type: application/json"];
    let mut socket = begin(&app.url, "POST /v1/auth/login", &headers, body).await;
    raw::receive(&mut socket).await.expect_problem(408, "body_timeout");
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_ended_as_well() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.http.body_silence = Duration::from_millis(400);
    }))
    .await;
    let headers = ["transfer-encoding: chunked", "content-type: application/json"];
    let socket = begin(&app.url, "POST /v1/auth/login", &headers, "").await;
    let (mut reading, mut writing) = socket.into_split();
    // Never silent for as long as is allowed.
    let trickle = async {
        while writing.write_all(b"1\r\n \r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        answer = raw::receive(&mut reading) => answer.expect_problem(408, "body_timeout"),
        () = trickle => panic!("there was no answer"),
    }
}

/// A token or a password is looked at before the processor is used for it.
#[tokio::test]
async fn a_common_password_is_told_only_to_somebody_with_a_good_token() {
    let app = TestApp::start().await;
    for path in ["/v1/auth/password/reset", "/v1/auth/invitations/accept"] {
        let body = json!({"token": "nonsense", "password": "p4$$w0rd".repeat(12)});
        let answer = app.call(Method::POST, path, Some(body)).await;
        answer.expect_problem(401, "invalid_token");
    }
    let staff = app.register().await;
    let change = json!({"current_password": "wrong", "new_password": "password123"});
    let refused = staff.post("/v1/auth/password/change", change).await;
    refused.expect_problem(401, "invalid_credentials");
    let change = json!({"current_password": staff.password, "new_password": "password123"});
    let refused = staff.post("/v1/auth/password/change", change).await;
    assert_eq!(refused.faults(), ["new_password: too_common"]);
}

#[tokio::test]
async fn a_query_of_thousands_of_parameters_is_refused_unread() {
    let staff = super::quiet::quiet();
    let answer = staff.get(&format!("/v1/members?{}", "a=1&".repeat(5000))).await;
    answer.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), ["query: invalid"]);
}

/// HTTP/2 as bytes: the preface, empty settings, and a request for a path of the static table.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const GET_ROOT: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0narthex!";

#[rstest]
#[case::without_a_request(PREFACE)]
#[case::after_one(&[PREFACE, GET_ROOT].concat())]
#[tokio::test]
async fn pings_do_not_hold_a_place(#[case] begun: &[u8]) {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.http.header_timeout = Duration::from_millis(400);
        settings.http.idle_timeout = Duration::from_millis(400);
    }))
    .await;
    let mut socket = raw::connect(&app.url).await;
    socket.write_all(begun).await.unwrap();
    let (mut reading, mut writing) = socket.into_split();
    let pings = async {
        while writing.write_all(PING).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let end = async {
        let mut read = Vec::new();
        let _ = reading.read_to_end(&mut read).await;
        read
    };
    let both = async { tokio::join!(pings, end).1 };
    let read = tokio::time::timeout(Duration::from_secs(10), both).await;
    let read = read.expect("the connection is still open");
    assert!(read.windows(8).any(|part| part == b"narthex!"), "no ping was answered");
}

#[tokio::test]
async fn http2_may_begin_byte_by_byte() {
    let app = TestApp::start().await;
    let mut socket = raw::connect(&app.url).await;
    socket.set_nodelay(true).unwrap();
    for byte in [PREFACE, GET_ROOT].concat() {
        socket.write_all(&[byte]).await.unwrap();
    }
    let mut read = Vec::new();
    // The head of the answer, on the first stream.
    while !read.windows(6).any(|part| part[0] == 1 && part[2..] == [0, 0, 0, 1]) {
        assert!(socket.read_buf(&mut read).await.unwrap() > 0, "{read:?}");
    }
}

#[rstest]
#[case::http1(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n", b"")]
// Its settings say that it takes nothing, of any stream.
#[case::http2(GET_ROOT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0")]
#[tokio::test]
async fn answers_that_nobody_reads_do_not_hold_a_place(
    #[case] request: &[u8],
    #[case] before: &[u8],
) {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.http.write_timeout = Duration::from_millis(300);
        settings.http.idle_timeout = Duration::from_millis(300);
        settings.http.request_timeout = Duration::from_millis(300);
    }))
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = app.url.trim_start_matches("http://").parse().unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    socket.write_all(before).await.unwrap();
    let asking = async {
        let mut stream = 1_u32;
        loop {
            let mut request = request.to_vec();
            if !before.is_empty() {
                request[5..9].copy_from_slice(&stream.to_be_bytes());
                stream += 2;
            }
            if socket.write_all(&request).await.is_err() {
                break;
            }
            // Enough to fill what lies between, and not for ever.
            if stream > 100 {
                let _ = socket.readable().await;
                while socket.write_all(PING).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                break;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), asking).await;
    ended.expect("the connection is still open");
    app.client.get(format!("{}/healthz", app.url)).send().await.unwrap();
}

#[rstest]
#[case::a_client("", false)]
#[case::a_proxy_of_ours("127.0.0.0/8", true)]
#[tokio::test]
async fn one_network_has_so_many_connections_and_no_more(
    #[case] proxies: &'static str,
    #[case] is_proxy: bool,
) {
    let app = TestApp::start_with(Box::new(move |settings| {
        settings.http.max_connections_per_network = 3;
        settings.http.trusted_proxies = proxies.parse().into_iter().collect();
    }))
    .await;
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let open = async || {
        let mut socket = raw::connect(&app.url).await;
        let _ = socket.write_all(request).await;
        let mut first = [0; 12];
        socket.read_exact(&mut first).await.ok().map(|_| socket)
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(open().await.expect("there is room"));
    }
    assert_eq!(open().await.is_some(), is_proxy);
    drop(held.pop());
    eventually("there is room again", async || open().await.is_some()).await;
}
