//! `postmaster.pid`, in which the server reports its state. Its lines are listed in PostgreSQL's
//! `miscadmin.h`.

use std::fs;
use std::path::PathBuf;

use nix::unistd::Pid;

use crate::directory::Layout;

const PID_LINE: usize = 0;
const START_TIME_LINE: usize = 2;
const PORT_LINE: usize = 3;
const STATUS_LINE: usize = 7;

/// The file's content at one moment; the server adds lines as it starts.
pub(crate) struct PidFile {
    content: String,
}

impl PidFile {
    pub(crate) fn path(layout: &Layout) -> PathBuf {
        layout.cluster().join("postmaster.pid")
    }

    pub(crate) fn read(layout: &Layout) -> Option<PidFile> {
        fs::read_to_string(Self::path(layout)).ok().map(|content| PidFile { content })
    }

    /// The server's process id. A negative number there means `postgres --single`, which is not a
    /// server.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.line(PID_LINE).parse().ok().filter(|pid| *pid > 1).map(Pid::from_raw)
    }

    /// True if both were written by the same start of a server.
    pub(crate) fn same_start(&self, other: &PidFile) -> bool {
        [PID_LINE, START_TIME_LINE].iter().all(|line| self.line(*line) == other.line(*line))
    }

    pub(crate) fn ready_on(&self, port: u16) -> bool {
        self.line(STATUS_LINE) == "ready" && self.line(PORT_LINE) == port.to_string()
    }

    fn line(&self, number: usize) -> &str {
        self.content.lines().nth(number).unwrap_or_default().trim()
    }
}
