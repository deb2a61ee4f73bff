//! A process that serves.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use super::CliFixture;

/// `narthex serve`, once it has said where it listens.
pub struct Serving {
    pub process: Child,
    /// Of the public listener.
    pub address: String,
    pub operations: String,
    lines: Lines<BufReader<ChildStderr>>,
    log: String,
}

impl Serving {
    pub async fn start(place: &CliFixture, environment: &[(&str, &str)]) -> Self {
        let mut process = place
            .command(&["serve"])
            .env("NARTHEX_HTTP__LISTEN", "127.0.0.1:0")
            .env("NARTHEX_HTTP__OPERATIONS_LISTEN", "127.0.0.1:0")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (address, operations) = Default::default();
        let mut serving = Self { process, address, operations, lines, log: String::new() };
        let line = serving.says("serving").await;
        let mut addresses = line.match_indices("127.0.0.1:").map(|(at, _)| {
            let end = |c: char| !c.is_ascii_digit() && !".:".contains(c);
            line[at..].split(end).next().unwrap().to_owned()
        });
        serving.address = addresses.next().unwrap();
        serving.operations = addresses.next().unwrap();
        serving
    }

    /// Reads its log up to the line with this text.
    pub async fn says(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("it never said `{text}`:\n{}", self.log));
            self.log.push_str(&line);
            self.log.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    pub fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().unwrap().cast_signed()), signal).unwrap();
    }

    /// Waits for its end: the exit code, and all that it has logged.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.log.push_str(&line);
            self.log.push('\n');
        }
        (self.process.wait().await.unwrap().code(), self.log)
    }
}
