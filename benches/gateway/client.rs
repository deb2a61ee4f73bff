//! An HTTP/1.1 connection that does as little as a measurement needs: bytes out, status and body back.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD_END: &[u8] = b"\r\n\r\n";
/// Ours are far smaller.
const LONGEST_HEAD: usize = 64 * 1024;

/// Kept alive from request to request.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// What came back.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// The `code` of a problem.
    pub fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or("without a code").to_owned()
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4096) })
    }

    /// Sends a whole request and reads the whole answer.
    pub async fn call(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.received.clear();
        let head = loop {
            if let Some(at) = find(&self.received, HEAD_END) {
                break at + HEAD_END.len();
            }
            if self.received.len() > LONGEST_HEAD {
                return Err(Error::new(ErrorKind::InvalidData, "the head does not end"));
            }
            self.receive().await?;
        };
        let (status, length) = read_head(&self.received[..head])?;
        while self.received.len() < head + length {
            self.receive().await?;
        }
        Ok(Answer { status, body: &self.received[head..head + length] })
    }

    async fn receive(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends a part of a request, or all of it, and leaves the rest to the caller.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Leaves: in order, or with a reset.
    pub fn leave(self, reset: bool) {
        if reset {
            let _ = self.stream.set_zero_linger();
        }
    }
}

fn read_head(head: &[u8]) -> Result<(u16, usize)> {
    let broken = |what: &'static str| Error::new(ErrorKind::InvalidData, what);
    let text = std::str::from_utf8(head).map_err(|_| broken("the head is no text"))?;
    let status = text.get(9..12).and_then(|s| s.parse().ok()).ok_or(broken("no status"))?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    match (length, status) {
        (Some(length), _) => Ok((status, length)),
        (None, 204 | 304) => Ok((status, 0)),
        (None, _) => Err(broken("no content-length")),
    }
}

/// Where `part` begins in `whole`.
pub fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}
