//! The command line: one file a command.

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
    /// TOML file with settings; the environment (NARTHEX_<SECTION>__<KEY>) goes before it.
    #[arg(long, global = true, env = "NARTHEX_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything on this machine: a private PostgreSQL cluster, registry, gateway and two demo tenants.
    Dev(dev::Dev),
    /// The whole story against the running dev instance, step by step; exit code 0 if all of it held.
    Demo(demo::Demo),
    /// Plays a provider towards the running dev instance.
    #[command(subcommand)]
    Simulate(simulate::Simulate),
    /// The gateway and its background jobs.
    Serve,
    /// Brings schemas up to date.
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// The tenants in the registry.
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    /// What providers have delivered.
    #[command(subcommand)]
    Deliveries(deliveries::Deliveries),
    /// The keys that sign access tokens, and the master key.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// The PostgreSQL servers that tenants live on.
    #[command(subcommand)]
    Servers(servers::Servers),
    /// The ledger of provisioning: every run that makes, mends or removes a tenant.
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Compares what is on the database servers with the registry, and says what to do. Changes nothing by itself.
    Reconcile(reconcile::Reconcile),
    /// The operators of this installation: who may call `/v1/admin`.
    #[command(subcommand)]
    Operators(operators::Operators),
    /// Looks for whatever is not as it should be, and says what to do. Exit code 1 where anything is found.
    Doctor(doctor::Doctor),
    /// Prints the OpenAPI document.
    Openapi,
}

/// Runs a command to its end.
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
