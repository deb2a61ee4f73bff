//! `narthex reconcile`: differences between the database servers and the registry.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::actor::actor;
use super::{CommandError, open_app, print};
use crate::app::App;
use crate::configuration::Settings;
use crate::fleet::{Dropped, Finding};

#[derive(Args)]
pub(super) struct Reconcile {
    /// Drops the database and the role of this name, if they have our ownership tag and belong to
    /// no tenant.
    #[arg(long, value_name = "NAME", requires = "server", conflicts_with = "json")]
    drop: Option<String>,
    /// Name of the server that has them.
    #[arg(long, value_name = "NAME", requires = "drop")]
    server: Option<String>,
    /// For scripts: one JSON array.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Reconcile, settings: Settings) -> Result<ExitCode, CommandError> {
    let app = open_app(settings).await?;
    let done = match command.drop.zip(command.server) {
        Some((name, server)) => drop_orphan(&app, &name, &server).await,
        None => report(&app, command.json).await,
    };
    app.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

fn row(finding: &Finding) -> Value {
    json!({
        "server": finding.server_name,
        "kind": finding.kind,
        "name": finding.name,
        "tenant": finding.tenant,
        "detail": finding.detail,
        "fix": finding.fix,
    })
}

async fn report(app: &App, as_json: bool) -> Result<(), CommandError> {
    let found = app.fleet.reconciler().reconcile().await?;
    let rows: Vec<Value> = found.iter().map(row).collect();
    if as_json {
        print::json(&Value::Array(rows));
        return Ok(());
    }
    if !rows.is_empty() {
        print::table(["server", "kind", "name", "tenant", "detail", "fix"], &rows);
    }
    say!("{} finding(s)", rows.len());
    Ok(())
}

async fn drop_orphan(app: &App, name: &str, server: &str) -> Result<(), CommandError> {
    let dropped = app.fleet.reconciler().drop_orphan(name, server, &actor()).await;
    let Dropped { database, role } = dropped
        .map_err(|reason| CommandError::Other(format!("not dropped on `{server}`: {reason}")))?;
    for what in [database.then_some("database"), role.then_some("role")].into_iter().flatten() {
        say!("dropped the {what} {name} on {server}");
    }
    Ok(())
}
