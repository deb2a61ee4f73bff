//! What the process says about itself: log lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::configuration::{LogFormat, LogSettings};

/// Starts logging. A filter that cannot be read is replaced by `info`, with a warning. Calling it again changes
/// nothing.
pub fn start(settings: &LogSettings) {
    let (filter, fault) = match EnvFilter::try_new(&settings.filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match settings.format {
        LogFormat::Text => lines.with_target(false).finish().try_init(),
        LogFormat::Json => lines.json().finish().try_init(),
    };
    if let (Ok(()), Some(error)) = (started, fault) {
        tracing::warn!(%error, "log.filter cannot be read; logging at `info`");
    }
}
