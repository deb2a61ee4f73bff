//! `narthex keys`: the keys that sign access tokens, and the one under which the registry's secrets are sealed.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{CommandError, open_app, print};
use crate::app::App;
use crate::configuration::Settings;
use crate::registry::secrets::{resealing, signing_keys};

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
        #[arg(long, conflicts_with = "master_key")]
        at_once: bool,
        /// Instead: everything in the registry that an older master key has sealed is sealed anew under `secrets.master_key`. The
        /// older ones must be in `secrets.previous_master_keys`. Can be cut off and run again.
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
