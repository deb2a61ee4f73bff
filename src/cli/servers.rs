//! `narthex servers`: the PostgreSQL servers of the tenants.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::actor::origin;
use super::secret::read_secret;
use super::{CommandError, open_app, print};
use crate::app::App;
use crate::configuration::Settings;
use crate::registry::RegistryDb;
use crate::registry::tenants::database_servers::{self, DatabaseServer, Occupancy, State};

mod add;
mod url;

#[derive(Subcommand)]
pub(super) enum Servers {
    /// Lists all servers with their tenants, oldest first.
    List {
        /// For scripts: one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Registers a server: connects, reports what prevents its use, closes its common databases,
    /// builds the template. Its URL (postgres://user:password@host:port?sslmode=...) is read from a
    /// prompt, standard input or a file.
    Add {
        /// The name for operators.
        #[arg(long)]
        name: String,
        /// File whose first line is the URL.
        #[arg(long, value_name = "FILE")]
        url_file: Option<PathBuf>,
        /// Maximum number of tenants.
        #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(i32).range(0..))]
        max_tenants: i32,
        /// File with PEM certificates of the authorities that may sign the server's certificate.
        /// Without it, the public authorities count.
        #[arg(long, value_name = "FILE")]
        tls_authority: Option<PathBuf>,
    },
    /// Drains a server: it gets no new tenants from now on, because it is to be emptied.
    Drain { name: String },
    /// Opens a server: it gets new tenants again, as long as it has room.
    Activate {
        name: String,
        /// New maximum number of tenants.
        #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
        max_tenants: Option<i32>,
    },
    /// Marks a server as full: it gets no new tenants from now on.
    Full { name: String },
}

pub(super) async fn run(command: Servers, settings: Settings) -> Result<ExitCode, CommandError> {
    // Read before connections are opened, so that they do not wait for the prompt.
    let new = match &command {
        Servers::Add { name, url_file, max_tenants, tls_authority } => {
            let url = read_secret(url_file.as_ref(), "URL of the server: ", "the URL")?;
            Some(add::NewServer::read(name, &url, *max_tenants, tls_authority.as_deref())?)
        }
        _ => None,
    };
    let app = open_app(settings).await?;
    let done = match (command, new) {
        (_, Some(new)) => add::add(&app, new).await,
        (Servers::List { json }, _) => list(&app, json).await,
        (Servers::Drain { name }, _) => change(&app, &name, State::Draining, None).await,
        (Servers::Full { name }, _) => change(&app, &name, State::Full, None).await,
        (Servers::Activate { name, max_tenants }, _) => {
            change(&app, &name, State::Active, max_tenants).await
        }
        (Servers::Add { .. }, None) => Ok(()),
    };
    app.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn find(db: &RegistryDb, name: &str) -> Result<DatabaseServer, CommandError> {
    database_servers::find_by_name(db, name).await?.ok_or_else(|| {
        CommandError::Other(format!(
            "there is no server `{name}`; `narthex servers list` shows all"
        ))
    })
}

async fn change(
    app: &App,
    name: &str,
    state: State,
    max_tenants: Option<i32>,
) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let server = find(&db, name).await?;
    if state == State::Active && !server.can_be_administered() {
        return Err(CommandError::Other(format!(
            "`{name}` has no credentials for making tenants; \
             `narthex servers add --name {name}` with its URL gives it some"
        )));
    }
    drop(db);
    app.fleet.change_server(server.id, state, max_tenants, &origin()).await?;
    say!("{name} is {}", print::text(&json!(state)));
    Ok(())
}

fn document(occupancy: &Occupancy) -> Value {
    let server = &occupancy.server;
    json!({
        "id": server.id,
        "name": server.name,
        "state": server.state,
        "host": server.host,
        "port": server.port,
        "tls_mode": server.tls_mode,
        "administration_user": server.administration_user,
        "can_be_administered": server.can_be_administered(),
        "tenants": occupancy.tenants,
        "max_tenants": server.max_tenants,
        "created_at": server.created_at,
    })
}

async fn list(app: &App, as_json: bool) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let rows: Vec<Value> = database_servers::list(&db).await?.iter().map(document).collect();
    if as_json {
        print::json(&Value::Array(rows));
        return Ok(());
    }
    // The registry's own server has no address here, because its address is in `registry.url`.
    let columns = ["name", "state", "tenants", "max_tenants", "host", "port", "tls_mode"];
    print::table(columns, &rows);
    say!("{} server(s)", rows.len());
    Ok(())
}
