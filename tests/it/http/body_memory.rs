//! What request bodies may take up in memory, all of them together.

use std::time::Duration;

use rstest::rstest;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::raw;
use crate::support::{TestApp, eventually};

const LARGEST: usize = 1024 * 1024;
/// So many of the largest bodies fit into the 64 MiB.
const FIT: usize = 64;

/// A request whose body has begun and does not go on.
async fn hold(url: &str, length: &str, begin: &str) -> TcpStream {
    let mut socket = raw::connect(url).await;
    let head = raw::head("POST /v1/auth/login", &["content-type: application/json", length]);
    socket.write_all(&head).await.unwrap();
    socket.write_all(begin.as_bytes()).await.unwrap();
    socket
}

/// The status of a request with this body, which is no login.
async fn status(url: &str, body: &str) -> u16 {
    let length = format!("content-length: {}", body.len());
    let mut request =
        raw::head("POST /v1/auth/login", &["content-type: application/json", &length]);
    request.extend_from_slice(body.as_bytes());
    let answer = raw::send(url, request).await;
    if answer.status == 503 {
        answer.expect_problem(503, "busy");
    }
    answer.status
}

/// Both claim their room before they have sent it: one says how long it will be, the other could be of the largest.
#[rstest]
#[case::announced("content-length: 1048576", "{")]
#[case::of_unknown_length("transfer-encoding: chunked", "1\r\n{\r\n")]
#[tokio::test]
async fn a_body_for_which_there_is_no_memory_is_turned_away_until_there_is(
    #[case] length: &str,
    #[case] begin: &str,
) {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.http.max_body = LARGEST;
        settings.http.request_timeout = Duration::from_secs(120);
    }))
    .await;
    let mut held = Vec::new();
    for _ in 0..FIT - 1 {
        held.push(hold(&app.url, length, begin).await);
    }
    // The last room of that size, whenever the others have been noticed.
    assert_eq!(status(&app.url, "{}").await, 422);
    held.push(hold(&app.url, length, begin).await);
    eventually("the memory is used up", async || status(&app.url, "{}").await == 503).await;
    // What has no body needs none.
    let alive = app.client.get(format!("{}/healthz", app.url)).send().await.unwrap();
    assert_eq!(alive.status(), 200);
    drop(held.pop());
    eventually("there is room again", async || status(&app.url, "{}").await == 422).await;
}
