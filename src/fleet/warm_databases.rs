//! Warm databases: copies of the template that wait for a tenant, on every server. A new tenant
//! then costs a rename instead of a copy.

use std::time::Duration;

use chrono::TimeDelta;

use super::servers::Fleet;
use super::{template, untouched};
use crate::identifiers::{ServerId, unguessable_id};
use crate::postgres::administration::{
    AdminServer, Administration, AdministrationError, ServerLock,
};
use crate::registry::RegistryError;
use crate::registry::tenants::database_servers::{self, DatabaseServer, State as ServerState};
use crate::registry::tenants::warm_databases::{self, State, TemplateVersion, WarmDatabase};
use crate::tenant_router::RouterError;

/// Prefix of the name of every warm database.
pub const WARM_PREFIX: &str = "narthex_spare_";
/// Age from which a copy of another template counts as unused. A replica of another version may
/// still need a younger one.
const STALE_AFTER: TimeDelta = TimeDelta::hours(1);
/// Pause after a drop, because every drop makes the server write a checkpoint.
pub const BETWEEN_DROPS: Duration = Duration::from_secs(1);

/// Reason why warm databases could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WarmDatabaseError {
    /// The list of warm databases could not be read or written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry has no usable address of the server.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// A statement on the server failed.
    #[error(transparent)]
    Administration(#[from] AdministrationError),
    /// The copy does not have the expected schema.
    #[error("the copy {name} of the template has the schema {found:?}")]
    WrongSchema {
        /// Name of the copy.
        name: String,
        /// Newest migration in the copy; `None` if it has none.
        found: Option<String>,
    },
    /// The copy contains more than the seed.
    #[error("the copy {name} of the template has foreign content: {}", .found.join(", "))]
    Foreign {
        /// Name of the copy.
        name: String,
        /// Description of the unexpected content.
        found: Vec<String>,
    },
}

/// The template and the schema version that a warm database must have.
pub struct OwnedTemplateVersion {
    server: ServerId,
    template: String,
    schema_version: String,
}

pub fn wanted(server: ServerId, template: &str) -> OwnedTemplateVersion {
    let schema_version = template::schema_version();
    OwnedTemplateVersion { server, template: template.to_owned(), schema_version }
}

impl OwnedTemplateVersion {
    pub fn as_ref(&self) -> TemplateVersion<'_> {
        let Self { server, template, schema_version } = self;
        TemplateVersion { server: *server, template, schema_version }
    }
}

impl Fleet {
    /// Makes warm databases on every server that takes new tenants, and removes those of the other
    /// servers. Returns the number of databases made.
    pub async fn top_up_warm_databases(&self) -> Result<u64, WarmDatabaseError> {
        let db = self.registry.connect().await?;
        let servers = database_servers::list(&db).await?;
        drop(db);
        let mut made = 0;
        let mut failure = None;
        for row in servers.into_iter().map(|occupied| occupied.server) {
            if !row.can_be_administered() {
                continue;
            }
            // A failure on one server must not stop the work on the others.
            match self.top_up(&row).await {
                Ok(more) => made += more,
                Err(error) => {
                    // Only the first failure is returned.
                    tracing::debug!(server = row.name, %error, "spare databases could not be made on a server");
                    failure = failure.or(Some(error));
                }
            }
        }
        failure.map_or(Ok(made), Err)
    }

    async fn top_up(&self, row: &DatabaseServer) -> Result<u64, WarmDatabaseError> {
        top_up(self, row, &self.server(row)?).await
    }
}

/// Makes copies of the current template until the server has as many as configured, and removes
/// interrupted and stale ones. One replica at a time works on a server; the others return 0.
/// Returns the number of databases made.
async fn top_up(
    fleet: &Fleet,
    row: &DatabaseServer,
    server: &AdminServer,
) -> Result<u64, WarmDatabaseError> {
    let template = template::name(server);
    let wanted = wanted(row.id, &template);
    let takes_tenants = row.state == ServerState::Active;
    if !has_work(fleet, &wanted, takes_tenants).await? {
        return Ok(0);
    }
    let mut administration = server.administer().await?;
    if !administration.try_lock(ServerLock::Spares).await? {
        return Ok(0);
    }
    remove_unusable(fleet, &wanted, takes_tenants, &mut administration).await?;
    let mut made = 0;
    loop {
        let db = fleet.registry.connect().await?;
        let ready = warm_databases::count_ready(&db, &wanted.as_ref()).await?;
        drop(db);
        if !takes_tenants || ready >= fleet.warm_target || fleet.life.is_stopping() {
            administration.close().await;
            return Ok(made);
        }
        template::ensure_by(&mut administration, server).await?;
        make(fleet, server, &wanted, &mut administration).await?;
        made += 1;
    }
}

/// Reads only the registry, because it runs every few seconds.
async fn has_work(
    fleet: &Fleet,
    wanted: &OwnedTemplateVersion,
    takes_tenants: bool,
) -> Result<bool, WarmDatabaseError> {
    let db = fleet.registry.connect().await?;
    let spares = warm_databases::on_server(&db, wanted.server).await?;
    let ready = spares.iter().filter(|warm| {
        warm.state == State::Ready
            && warm.template == wanted.template
            && warm.schema_version == wanted.schema_version
    });
    let enough = !takes_tenants || ready.count() as u64 >= fleet.warm_target;
    let is_useless =
        |warm: &WarmDatabase| is_interrupted(warm) || is_stale(fleet, wanted, takes_tenants, warm);
    Ok(!enough || spares.iter().any(is_useless))
}

/// True for a database that a dead process left half-made or half-removed. Without the server's
/// lock this is only a hint: another process may be working on the database.
fn is_interrupted(warm: &WarmDatabase) -> bool {
    matches!(warm.state, State::Making | State::Removing)
}

/// True if no tenant will get this database: the server takes no tenants, or the copy is of another
/// template and old.
fn is_stale(
    fleet: &Fleet,
    wanted: &OwnedTemplateVersion,
    takes_tenants: bool,
    warm: &WarmDatabase,
) -> bool {
    let is_another =
        warm.template != wanted.template || warm.schema_version != wanted.schema_version;
    let is_old = warm.created_at < fleet.clock.now() - STALE_AFTER;
    warm.state == State::Ready && (!takes_tenants || (is_another && is_old))
}

/// A new name for a warm database.
pub fn new_name() -> String {
    format!("{WARM_PREFIX}{}", unguessable_id().simple())
}

async fn make(
    fleet: &Fleet,
    server: &AdminServer,
    wanted: &OwnedTemplateVersion,
    administration: &mut Administration,
) -> Result<(), WarmDatabaseError> {
    let name = new_name();
    let db = fleet.registry.connect().await?;
    warm_databases::begin(&db, &name, &wanted.as_ref(), fleet.clock.now()).await?;
    drop(db);
    administration.copy_database(&wanted.template, &name).await?;
    administration.open_to_administration(&name).await?;
    let mut inside = server.connect(&name).await?;
    let mut applied = inside.texts(untouched::APPLIED).await?;
    let foreign = untouched::foreign_content(&mut inside).await?;
    inside.close().await;
    let found = applied.pop();
    if found.as_ref() != Some(&wanted.schema_version) {
        return Err(WarmDatabaseError::WrongSchema { name, found });
    }
    if !foreign.is_empty() {
        return Err(WarmDatabaseError::Foreign { name, found: foreign });
    }
    administration.park_database(&name, &fleet.mark()).await?;
    let db = fleet.registry.connect().await?;
    warm_databases::change_state(&db, &name, State::Making, State::Ready).await?;
    Ok(())
}

/// Drops databases that a dead process left half-made or half-removed, and those that a run has set
/// aside. This is safe because this process holds the server's lock. Each call also drops at most
/// one stale database.
async fn remove_unusable(
    fleet: &Fleet,
    wanted: &OwnedTemplateVersion,
    takes_tenants: bool,
    administration: &mut Administration,
) -> Result<(), WarmDatabaseError> {
    let db = fleet.registry.connect().await?;
    let spares = warm_databases::on_server(&db, wanted.server).await?;
    let stale = spares.iter().find(|warm| is_stale(fleet, wanted, takes_tenants, warm));
    let stale = match stale {
        Some(warm) => {
            let taken =
                warm_databases::change_state(&db, &warm.name, State::Ready, State::Removing);
            taken.await?.then_some(warm)
        }
        None => None,
    };
    drop(db);
    for warm in stale.into_iter().chain(spares.iter().filter(|warm| is_interrupted(warm))) {
        if let Err(error) = remove(fleet, &warm.name, administration).await {
            // The row stays, so the next round tries again. The failure must not delay the other
            // databases.
            tracing::warn!(name = warm.name, %error, "a warm database could not be removed");
        }
    }
    Ok(())
}

async fn remove(
    fleet: &Fleet,
    name: &str,
    administration: &mut Administration,
) -> Result<(), WarmDatabaseError> {
    administration.drop_database(name).await?;
    let db = fleet.registry.connect().await?;
    warm_databases::forget(&db, name).await?;
    drop(db);
    tokio::time::sleep(BETWEEN_DROPS).await;
    Ok(())
}
