//! What request bodies may take up in memory: each for what has arrived of it, and each network its share.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::raw;
use crate::support::{TestApp, eventually};

const LARGEST: usize = 1024 * 1024;
/// So many of the largest bodies fit into the share of one network, and into the 48 MiB of all.
const OF_ONE: usize = 12;
const NETWORKS: usize = 4;

fn lines(network: usize, length: usize) -> [String; 3] {
    [
        format!("x-forwarded-for: 203.0.113.{network}"),
        format!("content-length: {length}"),
        "content-type: application/json".to_owned(),
    ]
}

/// A request whose body is there but for one byte.
async fn hold(url: &str, network: usize) -> TcpStream {
    let mut socket = raw::connect(url).await;
    let lines = lines(network, LARGEST);
    let head = raw::head("POST /v1/auth/login", &lines.each_ref().map(String::as_str));
    socket.write_all(&head).await.unwrap();
    socket.write_all(&vec![b' '; LARGEST - 1]).await.unwrap();
    socket
}

/// The status of a request with a short body, which is no login.
async fn status(url: &str, path: &str, network: usize) -> u16 {
    let body = format!("{{{}}}", " ".repeat(100));
    let lines = lines(network, body.len());
    let line = format!("POST {path}");
    let mut request = raw::head(&line, &lines.each_ref().map(String::as_str));
    request.extend_from_slice(body.as_bytes());
    let answer = raw::send(url, request).await;
    if answer.status == 503 {
        answer.expect_problem(503, "busy");
    }
    answer.status
}

#[tokio::test]
async fn a_body_for_which_there_is_no_memory_is_turned_away_until_there_is() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.http.max_body = LARGEST;
        settings.http.request_timeout = Duration::from_secs(120);
        settings.http.body_silence = Duration::from_secs(120);
        settings.http.body_timeout = Duration::from_secs(120);
    }))
    .await;
    let login = async |network| status(&app.url, "/v1/auth/login", network).await;
    let mut held = Vec::new();
    for network in 1..=NETWORKS {
        for _ in 0..OF_ONE {
            held.push(hold(&app.url, network).await);
        }
        eventually("the network's share is used up", async || login(network).await == 503).await;
        // Nobody else pays for it, until nothing is left.
        let others = if network < NETWORKS { 422 } else { 503 };
        assert_eq!(login(9).await, others);
    }
    // What has no body needs no memory, and that of webhooks is their own.
    let alive = app.client.get(format!("{}/healthz", app.url)).send().await.unwrap();
    assert_eq!(alive.status(), 200);
    let event = app.provider.sms("+14155550101", "+13125550199", "Hello");
    app.provider.send(&event).await.expect(200);
    held.truncate(OF_ONE * NETWORKS - 1);
    eventually("there is room again", async || login(9).await == 422).await;
}
