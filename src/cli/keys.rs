//! `narthex keys`: the keys that sign access tokens.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::print::table;
use super::{CommandError, open_app};
use crate::app::App;
use crate::configuration::Settings;
use crate::registry::signing_keys;

#[derive(Subcommand)]
pub(super) enum Keys {
    /// Those that are believed, the newest first.
    List {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Makes a new key. It signs ten minutes later, when everybody knows it; the others are believed until the last token
    /// that they have signed has expired.
    Rotate {
        /// The other keys have got into wrong hands: nothing that they have signed is believed any more. Everybody who is
        /// signed in needs a new access token, which their refresh token gets them.
        #[arg(long)]
        at_once: bool,
    },
}

pub(super) async fn run(command: Keys, settings: Settings) -> Result<ExitCode, CommandError> {
    let app = open_app(settings).await?;
    let done = match command {
        Keys::List { json } => list(&app, json).await,
        Keys::Rotate { at_once } => rotate(&app, at_once).await,
    };
    app.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn list(app: &App, as_json: bool) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let keys = signing_keys::active(&db, app.registry.sealer(), app.now()).await?;
    let rows: Vec<Value> = keys
        .into_iter()
        .map(|key| {
            json!({"kid": key.kid, "created_at": key.created_at, "retired_at": key.retired_at})
        })
        .collect();
    if as_json {
        println!("{:#}", Value::Array(rows));
    } else {
        table(["kid", "created_at", "retired_at"], &rows);
    }
    Ok(())
}

async fn rotate(app: &App, at_once: bool) -> Result<(), CommandError> {
    let kid = app.authentication.tokens().rotate_keys(at_once).await?;
    if at_once {
        println!("{kid} signs from now on; nothing else is believed, on every replica within 5 s");
    } else {
        println!(
            "{kid} is published and signs in 10 minutes; older keys go when their tokens have expired"
        );
    }
    Ok(())
}
