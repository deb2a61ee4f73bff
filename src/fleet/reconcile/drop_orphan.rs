//! An operator's answer to an orphan: it is dropped, if it still is one when nobody can make it somebody's any more.

use sea_orm::ActiveEnum;
use uuid::Uuid;

use super::Reconciler;
use crate::audit::{Actor, AuditEvent};
use crate::fleet::template::TEMPLATE_PREFIX;
use crate::fleet::warm_databases::{BETWEEN_DROPS, WARM_PREFIX};
use crate::identifiers::TenantId;
use crate::postgres::administration::{Administration, AdministrationError, ServerLock};
use crate::registry::RegistryError;
use crate::registry::people::audit_log;
use crate::registry::runs::resources;
use crate::registry::tenants::database_servers;
use crate::registry::tenants::inventory::{self, Entry, Holder};
use crate::tenant_router::{RouterError, TENANT_GROUP};

/// What was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// A database of the name.
    pub database: bool,
    /// A role of the name.
    pub role: bool,
}

/// Why nothing was dropped. Each says what to do instead.
#[derive(Debug, thiserror::Error)]
pub enum DropOrphanError {
    /// Nobody has registered it.
    #[error("there is no server `{0}`; `narthex servers list` shows all")]
    UnknownServer(String),
    /// It may be gone already.
    #[error(
        "there is neither a database nor a role `{0}`; `narthex reconcile` shows what there is"
    )]
    NotThere(String),
    /// It may be anybody's.
    #[error(
        "`{0}` bears no mark of this installation: it belongs to somebody else, and only they can know whether it may go"
    )]
    NotOurs(String),
    /// Tenants are copied from it.
    #[error("`{0}` is a template: new tenants are copied from it")]
    Template(String),
    /// Somebody lives there.
    #[error(
        "`{name}` belongs to the tenant `{slug}`, which is {status}; \
         `narthex tenants delete {slug}` removes a tenant with all that it has"
    )]
    Tenant {
        /// The database or role.
        name: String,
        /// Of the tenant.
        slug: String,
        /// Of the tenant.
        status: String,
    },
    /// Somebody will live there.
    #[error(
        "`{0}` is a spare: the next tenant gets it, and what is of no use any more goes by itself"
    )]
    Spare(String),
    /// It is not decided yet whose it will be.
    #[error(
        "the run {run} may be making or removing `{name}`; `narthex runs show {run}` says how far it is, \
         `narthex runs cancel {run}` has it undone"
    )]
    Run {
        /// The database or role.
        name: String,
        /// The run.
        run: Uuid,
    },
    /// What is known of it could not be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The server has no address.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// The server did not do it.
    #[error(transparent)]
    Administration(#[from] AdministrationError),
}

impl Reconciler {
    /// Drops the database and the role of this name where they bear our mark and are nobody's. `server`: its name.
    pub async fn drop_orphan(
        &self,
        name: &str,
        server: &str,
        actor: &str,
    ) -> Result<Dropped, DropOrphanError> {
        if name.starts_with(TEMPLATE_PREFIX) {
            return Err(DropOrphanError::Template(name.to_owned()));
        }
        let db = self.registry.connect().await?;
        let row = database_servers::find_by_name(&db, server).await?;
        drop(db);
        let row = row.ok_or_else(|| DropOrphanError::UnknownServer(server.to_owned()))?;
        let mut administration = self.router.administration(&row)?.administer().await?;
        lock(&mut administration, name).await?;
        let contents = administration.contents(&self.registry.mark(), TENANT_GROUP).await?;
        let db = self.registry.connect().await?;
        let entries = inventory::read(&db).await?;
        drop(db);
        refuse_known(name, &entries)?;
        let database = contents.databases.get(name).map(|seen| seen.is_marked);
        let found = [database, contents.roles.get(name).copied()];
        let [database, role] = found.map(|is_marked| is_marked == Some(true));
        if !database && !role {
            let is_there = found.iter().any(Option::is_some);
            let reason =
                if is_there { DropOrphanError::NotOurs } else { DropOrphanError::NotThere };
            return Err(reason(name.to_owned()));
        }
        // Before it is gone: whoever asks later finds who wanted it.
        let event = AuditEvent {
            action: "orphan.dropped",
            target: TenantId::of_database(name).map(|id| (audit_log::TENANT, id.to_string())),
            detail: serde_json::json!({"name": name, "server": server}),
        };
        let (origin, now) = (Actor::command(actor).into(), self.clock.now());
        audit_log::record_alone(&self.registry, &origin, event, now).await?;
        let release = async |kind: &str| {
            let db = self.registry.connect().await?;
            resources::release(&db, kind, name, row.id, self.clock.now()).await
        };
        if database {
            administration.drop_database(name).await?;
            release(resources::DATABASE).await?;
        }
        if role {
            administration.drop_role(name).await?;
            release(resources::ROLE).await?;
        }
        tracing::info!(actor, name, server, database, role, "dropped an orphan");
        if database {
            tokio::time::sleep(BETWEEN_DROPS).await;
        }
        administration.close().await;
        Ok(Dropped { database, role })
    }
}

/// The locks of everybody who could make it somebody's, or is making it at this moment. That of the tenant first, as in
/// a purge: in another order both could wait for each other.
async fn lock(administration: &mut Administration, name: &str) -> Result<(), AdministrationError> {
    if let Some(tenant) = TenantId::of_database(name) {
        administration.lock_for(tenant.0).await?;
    }
    if name.starts_with(WARM_PREFIX) {
        administration.lock(ServerLock::Spares).await?;
    }
    administration.lock(ServerLock::Drop).await
}

fn refuse_known(name: &str, entries: &[Entry]) -> Result<(), DropOrphanError> {
    let is_it = |entry: &&Entry| [&entry.database, &entry.role].contains(&&Some(name.to_owned()));
    let Some(entry) = entries.iter().find(is_it) else { return Ok(()) };
    let name = name.to_owned();
    Err(match (entry.holder, entry.run) {
        (Holder::Spare { .. }, _) => DropOrphanError::Spare(name),
        (Holder::Run | Holder::Tenant(_), Some(run)) => DropOrphanError::Run { name, run },
        (Holder::Tenant(status), None) => DropOrphanError::Tenant {
            name,
            slug: entry.slug.clone().unwrap_or_default(),
            status: status.to_value(),
        },
        // A run has an id.
        (Holder::Run, None) => DropOrphanError::Run { name, run: Uuid::nil() },
    })
}
