//! `narthex servers add`: all checks of a server pass before its row is in the registry.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::url::ServerUrl;
use crate::app::App;
use crate::cli::{CommandError, other};
use crate::clock::Clock;
use crate::fleet::template;
use crate::identifiers::{ServerId, new_id};
use crate::postgres::administration::{AdminServer, Administration, AdministrationError};
use crate::postgres::transport::Transport;
use crate::registry::tenants::database_servers::{self, DatabaseServer, NotAdded, State};
use crate::registry::{RegistryDb, RegistryError};
use crate::sealing::aad;
use crate::tenant_router::TENANT_GROUP;

const LONGEST_NAME: usize = 63;

/// The server as the command line describes it.
pub(super) struct NewServer {
    name: String,
    url: ServerUrl,
    max_tenants: i32,
    tls_authority: Option<String>,
}

impl NewServer {
    pub(super) fn read(
        name: &str,
        url: &SecretString,
        max_tenants: i32,
        tls_authority: Option<&Path>,
    ) -> Result<Self, CommandError> {
        let is_name = !name.trim().is_empty() && !name.contains(char::is_control);
        if !is_name || name.chars().count() > LONGEST_NAME {
            return Err(other(format!("a server's name has 1 to {LONGEST_NAME} characters")));
        }
        let read = |path: &Path| {
            let cannot = format!("cannot read {}", path.display());
            std::fs::read_to_string(path).map_err(CommandError::while_doing(&cannot))
        };
        Ok(Self {
            name: name.to_owned(),
            url: ServerUrl::parse(url).map_err(other)?,
            max_tenants,
            tls_authority: tls_authority.map(read).transpose()?,
        })
    }

    /// True if an older row is of this very server, and lacks only what `add` supplies.
    fn completes(&self, known: &DatabaseServer) -> bool {
        !known.can_be_administered()
            && known.host.as_ref() == Some(&self.url.host)
            && known.port == Some(i32::from(self.url.port))
    }

    /// The server's row. It takes the id of an older row that it completes.
    fn row(
        &self,
        app: &App,
        known: Option<DatabaseServer>,
    ) -> Result<DatabaseServer, CommandError> {
        let id = known.as_ref().map_or_else(|| ServerId(new_id()), |known| known.id);
        let password = self.url.password.expose_secret().as_bytes();
        let sealed = app.registry.sealer().seal(&aad::server_password(id), password);
        Ok(DatabaseServer {
            id,
            name: self.name.clone(),
            host: Some(self.url.host.clone()),
            port: Some(i32::from(self.url.port)),
            tls_mode: Some(self.url.tls_mode),
            tls_authority: self.tls_authority.clone(),
            state: State::Active,
            administration_user: Some(self.url.user.clone()),
            sealed_administration_password: Some(sealed.map_err(RegistryError::from)?),
            max_tenants: self.max_tenants,
            system_identifier: None,
            created_at: known.map_or_else(|| Clock::system().now(), |known| known.created_at),
        })
    }
}

pub(super) async fn add(app: &App, new: NewServer) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let known = database_servers::find_by_name(&db, &new.name).await?;
    if known.as_ref().is_some_and(|known| !new.completes(known)) {
        return Err(name_taken(&new.name));
    }
    let mut row = new.row(app, known)?;
    let server = app.router.administration(&row).map_err(other)?;
    if let Some(weakness) = Transport::of(&server.options_for("")).weakness() {
        tracing::warn!(
            host = new.url.host,
            "the way to the server is not safe on a network: {weakness}"
        );
    }
    let mut administration = server.administer().await.map_err(|e| unreachable(&new, e))?;
    let refused = |reason: String| CommandError::Other(format!("`{}`: {reason}", new.name));
    row.system_identifier = Some(examine(&db, &mut administration, &row).await.map_err(refused)?);
    prepare(&server, administration).await.map_err(|e| refused(e.to_string()))?;
    match database_servers::add(&db, &row).await? {
        Ok(()) => {}
        Err(NotAdded::NameTaken) => return Err(name_taken(&new.name)),
        Err(reason @ NotAdded::SameCluster) => return Err(refused(reason.to_string())),
    }
    say!("added {} ({}) for up to {} tenants", row.name, row.id, row.max_tenants);
    Ok(())
}

fn name_taken(name: &str) -> CommandError {
    CommandError::Other(format!(
        "there is a server `{name}` already; `narthex servers list` shows all"
    ))
}

fn unreachable(new: &NewServer, error: AdministrationError) -> CommandError {
    CommandError::Other(format!(
        "`{}` cannot be administered at {}:{}: {error}; check the URL, that the server takes connections from here, \
         and that the user may connect to the database `postgres`",
        new.name, new.url.host, new.url.port
    ))
}

/// Checks that tenants can be created on the server, and that it is not registered under another
/// name. Returns its system identifier.
async fn examine(
    db: &RegistryDb,
    administration: &mut Administration,
    row: &DatabaseServer,
) -> Result<i64, String> {
    let capabilities =
        administration.capabilities(TENANT_GROUP).await.map_err(|e| e.to_string())?;
    if let Some(unsupported) = capabilities.unsupported(TENANT_GROUP) {
        return Err(unsupported.to_string());
    }
    database_servers::note_own_cluster(db).await.map_err(|e| e.to_string())?;
    let same =
        database_servers::find_by_system_identifier(db, capabilities.system_identifier).await;
    match same.map_err(|e| e.to_string())? {
        Some(same) if same.id != row.id => {
            return Err(format!("this is the server `{}`, which is registered already", same.name));
        }
        _ => {}
    }
    if !capabilities.ends_sessions {
        tracing::warn!(
            "the user may not end the sessions of tenants, so that dropping a database waits for them; \
             as a superuser, GRANT pg_signal_backend to it"
        );
    }
    Ok(capabilities.system_identifier)
}

/// Prepares the server as `migrate registry` and `serve` prepare the registry's own server.
async fn prepare(
    server: &AdminServer,
    mut administration: Administration,
) -> Result<(), AdministrationError> {
    administration.close_to_tenants(&[]).await?;
    administration.close().await;
    template::ensure(server).await
}
