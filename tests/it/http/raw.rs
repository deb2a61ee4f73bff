//! Bytes on a socket, where an HTTP client is too polite.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Answer;

/// What the client does after its last byte.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    /// It waits.
    Wait,
    /// It says that nothing more will come.
    CloseWriting,
}

/// Opens a connection to an application.
pub async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// A request head. `headers` are whole lines.
pub fn head(line: &str, headers: &[&str]) -> Vec<u8> {
    let mut head = format!("{line} HTTP/1.1\r\nhost: narthex.test\r\nconnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Sends the bytes and reads the answer. A server may answer before it has read everything.
pub async fn exchange(url: &str, bytes: Vec<u8>, then: Then) -> Answer {
    let (mut reading, mut writing) = connect(url).await.into_split();
    let writer = tokio::spawn(async move {
        let _ = writing.write_all(&bytes).await;
        if then == Then::CloseWriting {
            let _ = writing.shutdown().await;
        }
        writing
    });
    let answer = receive(&mut reading).await;
    writer.abort();
    answer
}

/// Sends the bytes and waits for the answer.
pub async fn send(url: &str, bytes: Vec<u8>) -> Answer {
    exchange(url, bytes, Then::Wait).await
}

/// Reads one answer.
pub async fn receive(reading: &mut (impl AsyncReadExt + Unpin)) -> Answer {
    let answer = tokio::time::timeout(Duration::from_secs(30), read_answer(reading)).await;
    parse(&answer.expect("no whole answer within 30 s"))
}

/// Reads to the end of the answer, which its head tells, or to the end of the connection.
async fn read_answer(reading: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut answer = Vec::new();
    while reading.read_buf(&mut answer).await.is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Some((_, length)) = head.split_once("content-length: ")
            && body.len() >= length.lines().next().unwrap().parse().unwrap()
        {
            break;
        }
    }
    answer
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: HeaderMap = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        })
        .collect();
    let bytes = bytes[end + 4..].to_vec();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Answer { status, headers, body, bytes }
}
