//! The command line: a file for each command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::configuration;

#[macro_use]
mod print;

mod actor;
mod deliveries;
mod demo;
mod dev;
mod doctor;
mod error;
mod instance;
mod keys;
mod migrate;
mod open;
mod openapi;
mod operators;
mod reconcile;
mod runs;
mod secret;
mod serve;
mod servers;
mod signals;
mod simulate;
mod tenants;

use error::{CommandError, other};
use open::{open_app, quiet};

/// A gateway that gives every tenant its own PostgreSQL database.
#[derive(Parser)]
#[command(name = "narthex", version, about, disable_help_subcommand = true)]
pub struct Arguments {
    #[arg(
        long,
        global = true,
        env = "NARTHEX_CONFIG",
        value_name = "FILE",
        help = "TOML file with settings; the environment (NARTHEX_<SECTION>__<KEY>) overrides it"
    )]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything on this machine: a private PostgreSQL cluster, registry, gateway and two
    /// demo tenants.
    Dev(dev::Dev),
    /// Walks through the features against the running dev instance, step by step; exit code 0 if
    /// every step succeeded.
    Demo(demo::Demo),
    /// Plays a provider towards the running dev instance.
    #[command(subcommand)]
    Simulate(simulate::Simulate),
    /// Runs the gateway and its background jobs.
    Serve,
    /// Brings schemas up to date.
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// Shows and changes the tenants in the registry.
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    /// Shows the deliveries of providers, and replays them.
    #[command(subcommand)]
    Deliveries(deliveries::Deliveries),
    /// Manages the keys that sign access tokens, and the master key.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Manages the PostgreSQL servers of the tenants.
    #[command(subcommand)]
    Servers(servers::Servers),
    /// Shows and controls the provisioning runs, which create, repair and remove tenants.
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Compares the contents of the database servers with the registry, and says what to do.
    /// Changes nothing by itself.
    Reconcile(reconcile::Reconcile),
    /// Manages the operators of this installation, who may call `/v1/admin`.
    #[command(subcommand)]
    Operators(operators::Operators),
    /// Looks for problems of the installation, and says how to fix them. Exit code 1 if there is
    /// any.
    Doctor(doctor::Doctor),
    /// Prints the OpenAPI document.
    Openapi,
}

/// Runs a command to its end. Errors go to standard error, with exit code 1.
pub fn run(arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::failure(format_args!("the runtime could not be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(arguments)) {
        Ok(code) => code,
        Err(error) => {
            print::failure(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let settings = || configuration::load(arguments.config.as_deref());
    if matches!(arguments.command, Command::Dev(_) | Command::Demo(_)) {
        instance::drop_postgres_variables()?;
    }
    match arguments.command {
        Command::Dev(command) => dev::run(command, settings()?).await,
        Command::Demo(command) => demo::run(command).await,
        Command::Simulate(command) => simulate::run(command).await,
        Command::Serve => serve::run(settings()?).await,
        Command::Migrate(command) => migrate::run(command, settings()?).await,
        Command::Tenants(command) => tenants::run(command, settings()?).await,
        Command::Deliveries(command) => deliveries::run(command, settings()?).await,
        Command::Keys(command) => keys::run(command, settings()?).await,
        Command::Servers(command) => servers::run(command, settings()?).await,
        Command::Runs(command) => runs::run(command, settings()?).await,
        Command::Reconcile(command) => reconcile::run(command, settings()?).await,
        Command::Operators(command) => operators::run(command, settings()?).await,
        Command::Doctor(command) => doctor::run(command, settings()?).await,
        Command::Openapi => openapi::run(),
    }
}
