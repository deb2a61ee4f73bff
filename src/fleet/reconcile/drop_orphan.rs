//! Drops an orphan on an operator's command, after checking under locks that it still belongs to no
//! tenant.

use sea_orm::ActiveEnum;
use uuid::Uuid;

use super::Reconciler;
use crate::audit::{Actor, AuditEvent};
use crate::fleet::template::TEMPLATE_PREFIX;
use crate::fleet::warm_databases::{BETWEEN_DROPS, WARM_PREFIX};
use crate::identifiers::{RunId, TenantId};
use crate::postgres::administration::{Administration, AdministrationError, ServerLock};
use crate::registry::RegistryError;
use crate::registry::people::audit_log;
use crate::registry::runs::resources;
use crate::registry::tenants::database_servers;
use crate::registry::tenants::inventory::{self, Entry, Holder};
use crate::tenant_router::{RouterError, TENANT_GROUP};

/// The objects that were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// True if a database of this name was dropped.
    pub database: bool,
    /// True if a role of this name was dropped.
    pub role: bool,
}

/// Reason why nothing was dropped. Each message says what to do instead.
#[derive(Debug, thiserror::Error)]
pub enum DropOrphanError {
    /// The registry has no server with this name.
    #[error("there is no server `{0}`; `narthex servers list` shows all")]
    UnknownServer(String),
    /// There is no database or role with this name on the server; it may be gone already.
    #[error(
        "there is neither a database nor a role `{0}`; `narthex reconcile` shows what there is"
    )]
    NotThere(String),
    /// Without the ownership tag, it may belong to another installation or to any other user of the
    /// server.
    #[error(
        "`{0}` bears no mark of this installation: it belongs to somebody else, and only they can know whether it may go"
    )]
    NotOurs(String),
    /// It is a template; new tenants are copied from it.
    #[error("`{0}` is a template: new tenants are copied from it")]
    Template(String),
    /// It belongs to a tenant.
    #[error(
        "`{name}` belongs to the tenant `{slug}`, which is {status}; \
         `narthex tenants delete {slug}` removes a tenant with all that it has"
    )]
    Tenant {
        /// Name of the database or the role.
        name: String,
        /// Slug of the tenant.
        slug: String,
        /// Status of the tenant.
        status: String,
    },
    /// It is a warm database; the next tenant gets it.
    #[error(
        "`{0}` is a spare: the next tenant gets it, and what is of no use any more goes by itself"
    )]
    Spare(String),
    /// A run may be creating or removing it.
    #[error(
        "the run {run} may be making or removing `{name}`; `narthex runs show {run}` says how far it is, \
         `narthex runs cancel {run}` has it undone"
    )]
    Run {
        /// Name of the database or the role.
        name: String,
        /// The id of the run.
        run: RunId,
    },
    /// The registry could not be read or written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry has no usable address of the server.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// A statement on the server failed.
    #[error(transparent)]
    Administration(#[from] AdministrationError),
}

impl Reconciler {
    /// Drops the database and the role of this name, if they have the ownership tag of this
    /// installation and belong to no tenant. `server`: the server's name.
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
        // Recorded before the drop, so that the log always says who requested it.
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

/// Takes the locks of all code that could assign this name to a tenant or is working on it. The
/// tenant's lock is taken first, as in a purge: another order could cause a deadlock.
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
        // Not reachable: an entry with the holder `Run` always has a run's id.
        (Holder::Run, None) => DropOrphanError::Run { name, run: RunId(Uuid::nil()) },
    })
}
