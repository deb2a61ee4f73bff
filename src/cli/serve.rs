//! `narthex serve`: the gateway against a registry URL.

use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::net::TcpListener;

use super::{CommandError, signals};
use crate::app::App;
use crate::clock::Clock;
use crate::configuration::Settings;
use crate::http::Listeners;
use crate::mail::Mailer;
use crate::registry::require_safe_transport;
use crate::telemetry;

pub(super) async fn run(settings: Settings) -> Result<ExitCode, CommandError> {
    telemetry::start(&settings.log);
    if let Some(url) = &settings.registry.url {
        require_safe_transport(url)?;
    }
    if Mailer::writes_into_log(&settings.smtp) {
        let refused =
            "smtp.url is `log:`: whoever reads the log could take over accounts; set a mail server";
        return Err(CommandError::Other(refused.to_owned()));
    }
    let http = settings.http.clone();
    let app = App::open(settings, Clock::system()).await?;
    signals::follow(&app.life).map_err(CommandError::while_doing("signals cannot be followed"))?;
    app.provisioner.prepare().await?;
    let (public, address) = bind(http.listen, "http.listen").await?;
    let (operations, operations_address) =
        bind(http.operations_listen, "http.operations_listen").await?;
    tracing::info!(%address, operations = %operations_address, "serving");
    let well = app.serve(Listeners { public, operations }).await;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A listener, and the address that it has got.
async fn bind(
    listen: SocketAddr,
    setting: &str,
) -> Result<(TcpListener, SocketAddr), CommandError> {
    let cannot = format!("cannot listen on {listen} ({setting})");
    let listener = TcpListener::bind(listen).await.map_err(CommandError::while_doing(&cannot))?;
    let address = listener.local_addr().map_err(CommandError::while_doing(&cannot))?;
    Ok((listener, address))
}
