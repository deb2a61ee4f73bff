//! The application, for commands that serve nothing.

use super::error::CommandError;
use crate::app::App;
use crate::clock::Clock;
use crate::configuration::{LogSettings, Settings};
use crate::telemetry;

/// For commands that work on the modules without serving them.
pub(super) async fn open_app(settings: Settings) -> Result<App, CommandError> {
    telemetry::start(&quiet(&settings));
    Ok(App::open(settings, Clock::system()).await?)
}

/// Commands speak through their output; of the log only warnings belong beside it.
pub(super) fn quiet(settings: &Settings) -> LogSettings {
    let mut log = settings.log.clone();
    if log.filter == LogSettings::default().filter {
        log.filter = "warn".to_owned();
    }
    log
}
