//! `narthex deliveries`: the deliveries of providers, and their state.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{CommandError, open_app, print};
use crate::app::App;
use crate::configuration::Settings;
use crate::registry::inbox::webhook_deliveries::{self, Delivery, Status};
use crate::webhooks::clerk::Replayed;

/// Rows; a longer list would not be readable.
const MOST_SHOWN: u64 = 1000;

#[derive(Subcommand)]
pub(super) enum Deliveries {
    /// Lists the newest deliveries.
    List {
        /// Only deliveries that were given up.
        #[arg(long)]
        failed: bool,
        /// For scripts: one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Makes deliveries that were given up due again. The running gateways process them.
    Replay {
        /// The provider's id of the delivery.
        #[arg(required_unless_present = "all_failed", conflicts_with = "all_failed")]
        id: Option<String>,
        /// Every delivery that was given up.
        #[arg(long)]
        all_failed: bool,
    },
}

pub(super) async fn run(command: Deliveries, settings: Settings) -> Result<ExitCode, CommandError> {
    let app = open_app(settings).await?;
    let done = match command {
        Deliveries::List { failed, json } => list(&app, failed, json).await,
        Deliveries::Replay { id: Some(id), .. } => replay(&app, &id).await,
        Deliveries::Replay { id: None, .. } => replay_all(&app).await,
    };
    app.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

fn document(delivery: &Delivery) -> Value {
    json!({
        "provider": delivery.provider,
        "id": delivery.delivery_id,
        "event": delivery.event_type,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "received_at": delivery.received_at,
        "finished_at": delivery.finished_at,
        "reason": delivery.reason,
    })
}

async fn list(app: &App, failed: bool, as_json: bool) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let status = failed.then_some(Status::Failed);
    let found = webhook_deliveries::list(&db, status, MOST_SHOWN).await?;
    let rows: Vec<Value> = found.iter().map(document).collect();
    if as_json {
        print::json(&Value::Array(rows));
        return Ok(());
    }
    let columns = ["provider", "id", "event", "status", "attempts", "received_at", "reason"];
    print::table(columns, &rows);
    say!("{} delivery(ies)", rows.len());
    Ok(())
}

async fn replay(app: &App, id: &str) -> Result<(), CommandError> {
    match app.clerk.replay(id).await? {
        Replayed::Due => {
            say!("{id} will be worked on again at once");
            Ok(())
        }
        Replayed::NotFailed => Err(CommandError::Other(format!(
            "{id} has not failed, so that there is nothing to be done again"
        ))),
        Replayed::Unknown => Err(CommandError::Other(format!(
            "there is no delivery `{id}`; `narthex deliveries list --failed` shows those that failed"
        ))),
    }
}

async fn replay_all(app: &App) -> Result<(), CommandError> {
    let mut replayed = 0;
    loop {
        let db = app.registry.connect().await?;
        let failed = webhook_deliveries::list(&db, Some(Status::Failed), MOST_SHOWN).await?;
        drop(db);
        let before = replayed;
        for delivery in &failed {
            // A delivery that another command has replayed meanwhile is not counted here.
            if app.clerk.replay(&delivery.delivery_id).await? == Replayed::Due {
                replayed += 1;
            }
        }
        if (failed.len() as u64) < MOST_SHOWN || replayed == before {
            break;
        }
    }
    say!("{replayed} delivery(ies) will be worked on again at once");
    Ok(())
}
