//! The application, for commands that do not serve it.

use super::error::CommandError;
use crate::app::App;
use crate::clock::Clock;
use crate::configuration::{LogSettings, Settings};
use crate::telemetry;

/// Opens the modules for a command that does not serve them.
pub(super) async fn open_app(settings: Settings) -> Result<App, CommandError> {
    telemetry::start(&quiet(&settings));
    Ok(App::open(settings, Clock::system()).await?)
}

/// Log settings for commands: the result is on standard output, so the log shows only warnings.
pub(super) fn quiet(settings: &Settings) -> LogSettings {
    let mut log = settings.log.clone();
    if log.filter == LogSettings::default().filter {
        log.filter = "warn".to_owned();
    }
    log
}
