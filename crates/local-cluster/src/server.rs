//! Starts a cluster's server and waits until it is ready.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::account::ServerAccount;
use crate::binaries::Binaries;
use crate::directory::Layout;
use crate::error::{ClusterError, io_error};
use crate::guard::{Guard, Remover};
use crate::pid_file::PidFile;
use crate::{previous, settings};

/// Crash recovery after a long run can take most of this.
const READY_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);
const PORT_ATTEMPTS: u32 = 5;
const LOG_LINES: usize = 15;

/// The inputs of every start of this cluster's server.
pub(crate) struct PostgresProcess {
    pub(crate) layout: Layout,
    pub(crate) binaries: Binaries,
    pub(crate) account: ServerAccount,
    pub(crate) durable: bool,
    pub(crate) max_connections: u32,
}

impl PostgresProcess {
    /// Starts the server on a free port and waits until it accepts connections.
    pub(crate) async fn start(
        &self,
        remover: Option<&Remover>,
    ) -> Result<(Guard, u16), ClusterError> {
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            match self.start_on(port, remover).await {
                Err(ClusterError::PortTaken { .. }) if attempt < PORT_ATTEMPTS => attempt += 1,
                started => return Ok((started?, port)),
            }
        }
    }

    pub(crate) async fn start_on(
        &self,
        port: u16,
        remover: Option<&Remover>,
    ) -> Result<Guard, ClusterError> {
        let log = previous::end(&self.layout).await?;
        let log_start = length(&log);
        let stale = PidFile::read(&self.layout);
        let program = self.binaries.postgres();
        let arguments = settings::arguments(&self.layout, self.durable, self.max_connections, port);
        let mut guard = Guard::spawn(&program, arguments, &self.account, log, remover)?;
        let deadline = Instant::now() + READY_LIMIT;
        while !self.ready(port, stale.as_ref()).await {
            if guard.ended().map_err(io_error("run", &program))?.is_some() {
                let log = self.log_since(log_start);
                let taken = log.contains("Address already in use");
                return Err(if taken {
                    ClusterError::PortTaken { port }
                } else {
                    ClusterError::StartFailed { log }
                });
            }
            if Instant::now() > deadline {
                return Err(ClusterError::NotReady {
                    seconds: READY_LIMIT.as_secs(),
                    log: self.log_since(log_start),
                });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(guard)
    }

    /// `stale` is the file that a crashed server left, which also says "ready".
    async fn ready(&self, port: u16, stale: Option<&PidFile>) -> bool {
        let Some(current) = PidFile::read(&self.layout) else {
            return false;
        };
        current.ready_on(port)
            && !stale.is_some_and(|stale| current.same_start(stale))
            && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
    }

    /// The last lines that were logged after position `start`.
    pub(crate) fn log_since(&self, start: u64) -> String {
        let mut bytes = Vec::new();
        let read = File::open(self.layout.log()).and_then(|mut log| {
            log.seek(SeekFrom::Start(start)).and_then(|_| log.read_to_end(&mut bytes))
        });
        if let Err(error) = read {
            return format!("(cannot read {}: {error})", self.layout.log().display());
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

pub(crate) fn length(log: &File) -> u64 {
    log.metadata().map(|metadata| metadata.len()).unwrap_or_default()
}

/// A port that is free at this moment. The caller must handle that it is taken before it is used.
fn free_port() -> Result<u16, ClusterError> {
    let failed = || io_error("find a free port on", Path::new("127.0.0.1"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
    Ok(listener.local_addr().map_err(failed())?.port())
}
