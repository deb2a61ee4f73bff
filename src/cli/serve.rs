//! `narthex serve`: the gateway against a registry URL.

use std::process::ExitCode;

use tokio::net::TcpListener;

use super::{CommandError, signals};
use crate::app::App;
use crate::clock::Clock;
use crate::configuration::Settings;
use crate::registry::require_safe_transport;
use crate::telemetry;

pub(super) async fn run(settings: Settings) -> Result<ExitCode, CommandError> {
    telemetry::start(&settings.log);
    if let Some(url) = &settings.registry.url {
        require_safe_transport(url)?;
    }
    let listen = settings.http.listen;
    let app = App::open(settings, Clock::system()).await?;
    signals::follow(&app.life).map_err(CommandError::while_doing("signals cannot be followed"))?;
    app.provisioner.prepare().await?;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(CommandError::while_doing(&format!("cannot listen on {listen} (http.listen)")))?;
    let address = listener.local_addr().map_or(listen, |address| address);
    tracing::info!(%address, "serving");
    let well = app.serve(listener).await;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
