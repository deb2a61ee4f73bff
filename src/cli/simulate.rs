//! `narthex simulate`: plays a provider towards the running dev instance.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;

use super::CommandError;
use super::instance::{self, Running};
use crate::clock::Clock;
use crate::identifiers::{LineNumber, unguessable_id};
use crate::webhooks::telnyx::sample;
use crate::webhooks::telnyx::signature::{SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER};

#[derive(Subcommand)]
pub(super) enum Simulate {
    /// Sends a signed SMS webhook, as the provider would.
    Sms {
        /// A number that a tenant holds.
        #[arg(long)]
        to: LineNumber,
        /// Text of the message.
        #[arg(long)]
        text: String,
        /// Number of the sender.
        #[arg(long, default_value = "+13125550199")]
        from: LineNumber,
        /// Data directory of the dev instance.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

pub(super) async fn run(command: Simulate) -> Result<ExitCode, CommandError> {
    let Simulate::Sms { to, text, from, data_dir } = command;
    let running = instance::running(data_dir)?;
    let provider = Provider::of(&running)?;
    let now = Clock::system().now();
    let (event, message) = (unguessable_id().to_string(), unguessable_id().to_string());
    let body = sample::inbound_sms(&event, &message, from.as_str(), to.as_str(), &text, now);
    let (status, answer) = provider.send(&body.to_string(), now.timestamp()).await?;
    say!("{status} {answer}");
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The dev instance's stand-in for the provider. It has the private key for the gateway's public
/// key.
pub(super) struct Provider {
    client: reqwest::Client,
    url: String,
    key: SigningKey,
}

impl Provider {
    pub fn of(running: &Running) -> Result<Self, CommandError> {
        Ok(Self {
            client: client()?,
            url: format!("{}/webhooks/telnyx", running.url),
            key: SigningKey::from_base64(&running.instance.telnyx_seed)
                .map_err(|e| CommandError::Other(e.to_string()))?,
        })
    }

    /// Signs a body and sends it.
    pub async fn send(&self, body: &str, timestamp: i64) -> Result<(u16, Value), CommandError> {
        self.send_signed(body, timestamp, &self.key.sign(timestamp, body.as_bytes())).await
    }

    /// Sends a body with any signature.
    pub async fn send_signed(
        &self,
        body: &str,
        timestamp: i64,
        signature: &str,
    ) -> Result<(u16, Value), CommandError> {
        let unreachable =
            |e: reqwest::Error| CommandError::Other(format!("no answer from the gateway: {e}"));
        let response = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header(SIGNATURE_HEADER, signature)
            .header(TIMESTAMP_HEADER, timestamp.to_string())
            .body(body.to_owned())
            .send()
            .await
            .map_err(unreachable)?;
        let status = response.status().as_u16();
        Ok((status, response.json().await.map_err(unreachable)?))
    }
}

/// An HTTP client with time limits.
pub(super) fn client() -> Result<reqwest::Client, CommandError> {
    crate::outbound::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(30))
        .no_proxy()
        .build()
        .map_err(|e| CommandError::Other(e.to_string()))
}
