//! The program itself: what it says, what it returns, and what it never says.

mod deliveries;
mod dev;
mod doctor;
mod killed;
mod killed_deliveries;
mod operators;
mod reconcile;
mod runs;
mod screens;
mod serve;
mod servers;
mod serving;
mod tenant_life;
mod tenants;
mod tls;

use std::process::{Output, Stdio};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{TestApp, TestCluster, shared_cluster, unique};

/// The program with nothing in its environment that a test has not put there.
pub fn narthex(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_narthex"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    for name in ["PATH", "HOME", "TMPDIR", "NARTHEX_POSTGRES_BIN"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// What a finished command has said, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Fails unless the command ended with this code; standard output.
    #[track_caller]
    pub fn expect(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.out
    }

    /// Fails unless the command ended with this code and said each of these on standard error.
    #[track_caller]
    pub fn expect_error(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for text in texts {
            assert!(self.err.contains(text), "`{text}` is missing: {self:?}");
        }
    }

    /// Fails if any of these was said anywhere.
    #[track_caller]
    pub fn never_says(&self, secrets: &[&str]) {
        for secret in secrets {
            assert!(!self.out.contains(secret) && !self.err.contains(secret), "{self:?}");
        }
    }
}

/// A place for a registry on the shared cluster, not made yet, with a key.
pub struct CliFixture {
    pub cluster: TestCluster,
    pub database: String,
    pub url: String,
    pub master_key: String,
}

impl CliFixture {
    pub fn new() -> Self {
        Self::on(shared_cluster())
    }

    /// As [`CliFixture::new`], on a cluster of the test's own.
    pub fn on(cluster: TestCluster) -> Self {
        let database = format!("registry_{}", unique());
        let master_key = narthex::sealing::generate_master_key().unwrap();
        Self { url: cluster.url(&database), cluster, database, master_key }
    }

    /// With the schema made by the command.
    pub async fn migrated() -> Self {
        let place = Self::new();
        place.run(&["migrate", "registry"]).await.expect(0);
        place
    }

    /// Beside an application that runs, with its registry and its key.
    pub fn of(app: &TestApp) -> Self {
        let secret =
            |text: &Option<SecretString>| text.as_ref().unwrap().expose_secret().to_owned();
        Self {
            cluster: app.cluster.clone(),
            database: app.registry_database.clone(),
            url: secret(&app.settings.registry.url),
            master_key: secret(&app.settings.secrets.master_key),
        }
    }

    /// Runs a command that prints JSON.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.run(&arguments).await.expect(0)).unwrap()
    }

    /// The command, told where the registry is.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = narthex(arguments);
        command
            .env("NARTHEX_REGISTRY__URL", &self.url)
            .env("NARTHEX_SECRETS__MASTER_KEY", &self.master_key);
        command
    }

    /// Runs a command to its end. Whatever it was, it must not have told a secret.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "").await
    }

    /// As [`CliFixture::run`], with something on standard input.
    pub async fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have ended without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
        let said = Said::of(child.wait_with_output().await.unwrap());
        said.never_says(&self.secrets());
        said
    }

    pub fn secrets(&self) -> [&str; 2] {
        let password = self.url.split_once("://").unwrap().1.split_once('@').unwrap().0;
        [&self.master_key, password.split_once(':').unwrap().1]
    }
}
