//! `narthex migrate`: schemas of databases.

use std::process::ExitCode;

use clap::Subcommand;

use super::{CommandError, quiet};
use crate::app::StartError;
use crate::configuration::Settings;
use crate::registry::{parse_url, schema};
use crate::telemetry;

#[derive(Subcommand)]
pub(super) enum Migrate {
    /// Creates the registry database if it does not exist, and brings its schema up to date.
    Registry {
        /// Only shows what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Shows the state of the registry's schema.
    Status,
}

pub(super) async fn run(command: Migrate, settings: Settings) -> Result<ExitCode, CommandError> {
    telemetry::start(&quiet(&settings));
    let options = parse_url(settings.registry.url.as_ref().ok_or(StartError::NoRegistryUrl)?)?;
    match command {
        Migrate::Registry { dry_run: false } => {
            let applied = schema::migrate(options).await?;
            for name in &applied {
                say!("applied {name}");
            }
            say!("the registry is up to date ({} applied)", applied.len());
        }
        Migrate::Registry { dry_run: true } | Migrate::Status => {
            let status = schema::status(options).await?;
            for name in &status.applied {
                say!("applied {name}");
            }
            for name in &status.pending {
                say!("pending {name}");
            }
            say!("{} applied, {} pending", status.applied.len(), status.pending.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}
