//! `narthex keys`: the keys that sign access tokens, and the master key that seals the registry's
//! secrets.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{CommandError, open_app, print};
use crate::app::App;
use crate::configuration::Settings;
use crate::registry::secrets::{resealing, signing_keys};

#[derive(Subcommand)]
pub(super) enum Keys {
    /// The keys whose tokens are accepted, newest first.
    List {
        /// For scripts: one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Creates a new key. It signs ten minutes later, when every replica has it. Tokens of the
    /// other keys are accepted until they expire.
    Rotate {
        /// For stolen keys: tokens of the other keys are not accepted any more. All signed-in users
        /// need a new access token, which their clients get with their refresh tokens.
        #[arg(long, conflicts_with = "master_key")]
        at_once: bool,
        /// Instead: seals again, with `secrets.master_key`, every value in the registry that an
        /// older master key has sealed. The older keys must be in `secrets.previous_master_keys`.
        /// An interrupted run can be repeated.
        #[arg(long)]
        master_key: bool,
    },
}

pub(super) async fn run(command: Keys, settings: Settings) -> Result<ExitCode, CommandError> {
    let app = open_app(settings).await?;
    let done = match command {
        Keys::List { json } => list(&app, json).await,
        Keys::Rotate { master_key: true, .. } => reseal(&app).await,
        Keys::Rotate { at_once, .. } => rotate(&app, at_once).await,
    };
    app.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn list(app: &App, as_json: bool) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let keys = signing_keys::active(&db, app.registry.sealer(), None, app.now()).await?;
    let rows: Vec<Value> = keys
        .into_iter()
        .map(|key| {
            json!({"kid": key.kid, "audience": key.audience, "created_at": key.created_at,
                "retired_at": key.retired_at})
        })
        .collect();
    if as_json {
        print::json(&Value::Array(rows));
    } else {
        print::table(["kid", "audience", "created_at", "retired_at"], &rows);
    }
    Ok(())
}

async fn rotate(app: &App, at_once: bool) -> Result<(), CommandError> {
    let kids = app.access.rotate_keys(at_once).await?;
    for (kid, whose) in kids.iter().zip(["tenants' staff", "operators"]) {
        if at_once {
            say!(
                "{kid} signs for {whose} from now on; nothing else is believed, on every replica within 5 s"
            );
        } else {
            say!(
                "{kid} is published and signs for {whose} in 10 minutes; older keys go when their tokens have expired"
            );
        }
    }
    Ok(())
}

async fn reseal(app: &App) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let mut unreadable = 0;
    for column in resealing::SEALED {
        let resealed = resealing::reseal(&db, app.registry.sealer(), column).await?;
        say!("{}.{}: {} sealed anew", column.table, column.column, resealed.done);
        unreadable += resealed.unreadable;
    }
    if unreadable > 0 {
        return Err(CommandError::Other(format!(
            "{unreadable} value(s) open with none of the keys and stay as they are; add the key that sealed them to \
             secrets.previous_master_keys and run this again"
        )));
    }
    say!(
        "nothing is left under an older key; once every replica seals with the new one and this finds nothing, \
              secrets.previous_master_keys can go"
    );
    Ok(())
}
