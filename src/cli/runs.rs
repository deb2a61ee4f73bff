//! `narthex runs`: the runs of provisioning, and what an operator can do to a run.

use std::process::ExitCode;

use clap::Subcommand;
use sea_orm::ActiveEnum;
use serde_json::{Value, json};

use super::actor::origin;
use super::tenants::find as find_tenant;
use super::{CommandError, open_app, print};
use crate::app::App;
use crate::configuration::Settings;
use crate::identifiers::{RunId, word};
use crate::provisioning::CancelError;
use crate::registry::RegistryDb;
use crate::registry::runs::provisioning_runs::{
    self, Event, Filter, NotCancelled, Run, RunKind, RunStatus, Step,
};

#[derive(Subcommand)]
pub(super) enum Runs {
    /// Lists runs, newest first.
    List {
        /// pending, running, compensating, completed or failed.
        #[arg(long, value_parser = word::<RunStatus>)]
        status: Option<RunStatus>,
        /// create_tenant, announce_tenant, purge_tenant or reprovision_tenant.
        #[arg(long, value_parser = word::<RunKind>)]
        kind: Option<RunKind>,
        /// Only runs of this tenant, by id or slug. A tenant that was never finished has only an
        /// id.
        #[arg(long)]
        tenant: Option<String>,
        /// Rows at most.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        /// For scripts: one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Shows one run: what it waits for, which process works on it, its error, and every step.
    Show {
        run: RunId,
        /// For scripts: one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Shows every event of a run, oldest first.
    History {
        run: RunId,
        /// For scripts: one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Makes the next attempt of a run due now.
    Retry { run: RunId },
    /// Cancels a run: it is undone instead of finished.
    Cancel { run: RunId },
}

pub(super) async fn run(command: Runs, settings: Settings) -> Result<ExitCode, CommandError> {
    let app = open_app(settings).await?;
    let done = execute(&app, command).await;
    app.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn execute(app: &App, command: Runs) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    match command {
        Runs::List { status, kind, tenant, limit, json } => {
            let tenant = match tenant {
                None => None,
                Some(name) => Some(match name.parse() {
                    Ok(id) => id,
                    Err(_) => find_tenant(&db, &name).await?.id,
                }),
            };
            list(&db, &Filter { status, kind, tenant }, limit, json).await
        }
        Runs::Show { run, json } => show(app, &db, run, json).await,
        Runs::History { run, json } => history(&db, run, json).await,
        Runs::Retry { run } => retry(app, &db, run).await,
        Runs::Cancel { run } => cancel(app, run).await,
    }
}

/// One run as a row of a list.
pub(super) fn row(run: &Run) -> Value {
    json!({
        "id": run.id,
        "kind": run.kind,
        "status": run.status,
        "tenant_id": run.tenant_id,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "error_code": run.error_code,
    })
}

async fn list(
    db: &RegistryDb,
    filter: &Filter,
    limit: u64,
    as_json: bool,
) -> Result<(), CommandError> {
    let found = provisioning_runs::list(db, filter, limit).await?;
    let rows: Vec<Value> = found.iter().map(row).collect();
    if as_json {
        print::json(&Value::Array(rows));
        return Ok(());
    }
    print::table(COLUMNS, &rows);
    say!("{} run(s)", rows.len());
    Ok(())
}

/// The columns of a list of runs.
pub(super) const COLUMNS: [&str; 7] =
    ["id", "kind", "status", "tenant_id", "created_at", "finished_at", "error_code"];

async fn find(db: &RegistryDb, id: RunId) -> Result<(Run, Vec<Step>), CommandError> {
    provisioning_runs::find(db, id).await?.ok_or_else(|| unknown(id))
}

fn unknown(id: RunId) -> CommandError {
    CommandError::Other(format!("there is no run {id}; `narthex runs list` shows the newest"))
}

fn step_row(step: &Step) -> Value {
    json!({
        "position": step.position,
        "name": step.name,
        "status": status_name(step),
        "attempts": step.attempts,
        "undo_attempts": step.undo_attempts,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
        "last_error": step.last_error,
        "undo_error": step.undo_error,
    })
}

fn status_name(step: &Step) -> String {
    step.status.to_value()
}

/// Everything about one run, as JSON.
fn document(app: &App, run: &Run, steps: &[Step]) -> Value {
    let pending = app.provisioner.pending(run, steps);
    // A run with a lease waits only for its step. A run without one waits until it is due.
    let next_attempt = match (&pending, &run.lease_owner) {
        (None, _) => None,
        (Some(pending), Some(_)) => pending.step.next_attempt_at,
        (Some(_), None) => Some(run.next_attempt_at),
    };
    let mut document = row(run);
    let more = json!({
        "version": run.version,
        "pending_step": pending.map(|pending| &pending.step.name),
        "attempts": pending.map(|pending| pending.attempts),
        "most_attempts": pending.and_then(|pending| pending.most_attempts),
        "last_error": pending.and_then(|pending| pending.last_error),
        "next_attempt_at": next_attempt,
        "cancel_requested_at": run.cancel_requested_at,
        "lease_owner": run.lease_owner,
        "lease_until": run.lease_until,
        "error_detail": run.error_detail,
        "steps": steps.iter().map(step_row).collect::<Vec<_>>(),
    });
    if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
        document.extend(more);
    }
    document
}

async fn show(app: &App, db: &RegistryDb, id: RunId, as_json: bool) -> Result<(), CommandError> {
    let (run, steps) = find(db, id).await?;
    let document = document(app, &run, &steps);
    if as_json {
        print::json(&document);
        return Ok(());
    }
    print::fields(&document);
    say!();
    let columns =
        ["name", "status", "attempts", "undo_attempts", "finished_at", "last_error", "undo_error"];
    print::table(columns, document["steps"].as_array().map_or(&[][..], Vec::as_slice));
    Ok(())
}

fn event_row(event: &Event) -> Value {
    json!({
        "occurred_at": event.occurred_at,
        "event": event.event,
        "step": event.step,
        "attempt": event.attempt,
        "actor": event.actor,
        "detail": event.detail,
    })
}

async fn history(db: &RegistryDb, id: RunId, as_json: bool) -> Result<(), CommandError> {
    find(db, id).await?;
    let events = provisioning_runs::history(db, id).await?;
    let rows: Vec<Value> = events.iter().map(event_row).collect();
    if as_json {
        print::json(&Value::Array(rows));
        return Ok(());
    }
    print::table(["occurred_at", "event", "step", "attempt", "actor", "detail"], &rows);
    Ok(())
}

async fn retry(app: &App, db: &RegistryDb, id: RunId) -> Result<(), CommandError> {
    if !app.provisioner.retry_run(id, &origin()).await? {
        let (run, _) = find(db, id).await?;
        return Err(CommandError::Other(format!(
            "the run {id} is {}: there is nothing to try again; \
             `narthex tenants provision` mends a tenant",
            run.status.to_value()
        )));
    }
    let (run, _) = find(db, id).await?;
    match run.lease_until.filter(|_| run.lease_owner.is_some()) {
        None => say!("{id} is due now; a running replica takes it up within a second"),
        Some(until) => say!(
            "{id} is in the hands of the process {}, which goes on with it; if that is dead, another takes it up \
             after {until}",
            run.lease_owner.unwrap_or_default()
        ),
    }
    Ok(())
}

async fn cancel(app: &App, id: RunId) -> Result<(), CommandError> {
    match app.provisioner.cancel_run(id, &origin()).await {
        Ok(()) => {
            say!("{id} will be undone before its next step; `narthex runs show {id}` says how far");
            Ok(())
        }
        Err(CancelError::NotCancelled(NotCancelled::Unknown)) => Err(unknown(id)),
        Err(CancelError::NotCancelled(reason)) => {
            Err(CommandError::Other(format!("{id} is not cancelled: {reason}")))
        }
        Err(CancelError::Registry(error)) => Err(error.into()),
    }
}
