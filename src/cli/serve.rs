//! `narthex serve`: the gateway with a registry URL.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::{CommandError, signals};
use crate::app::{App, StartError};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::configuration::Settings;
use crate::http::Listeners;
use crate::mail::Mailer;
use crate::registry::{RegistryError, require_safe_transport};
use crate::telemetry;

/// Pauses between two attempts to reach the registry.
const PAUSES: Backoff = Backoff::steady(Duration::from_millis(200), Duration::from_secs(2));

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
    let app = open(settings).await?;
    signals::follow(&app.life).map_err(CommandError::while_doing("signals cannot be followed"))?;
    app.fleet.prepare().await?;
    let (public, address) = bind(http.listen, "http.listen").await?;
    let (operations, operations_address) =
        bind(http.operations_listen, "http.operations_listen").await?;
    tracing::info!(%address, operations = %operations_address, "serving");
    let well = app.serve(Listeners { public, operations }).await;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens the application. It waits for a registry that does not answer yet, as when both are
/// started together.
async fn open(settings: Settings) -> Result<App, StartError> {
    let deadline = Instant::now() + settings.registry.start_timeout;
    let mut failures = 0;
    loop {
        failures += 1;
        let pause = PAUSES.after(failures);
        match App::open(settings.clone(), Clock::system()).await {
            Err(StartError::Registry(RegistryError::Unavailable(reason)))
                if Instant::now() + pause < deadline =>
            {
                tracing::warn!(
                    reason,
                    "waiting for the registry, {} s at most",
                    (deadline - Instant::now()).as_secs()
                );
                tokio::time::sleep(pause).await;
            }
            opened => return opened,
        }
    }
}

/// A listener, and the address that it is bound to.
async fn bind(
    listen: SocketAddr,
    setting: &str,
) -> Result<(TcpListener, SocketAddr), CommandError> {
    let cannot = format!("cannot listen on {listen} ({setting})");
    let listener = TcpListener::bind(listen).await.map_err(CommandError::while_doing(&cannot))?;
    let address = listener.local_addr().map_err(CommandError::while_doing(&cannot))?;
    Ok((listener, address))
}
