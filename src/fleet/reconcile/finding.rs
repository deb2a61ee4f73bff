//! Findings: differences between a server and the registry, and what an operator can do about each.

use std::collections::BTreeSet;

use crate::fleet::template::TEMPLATE_PREFIX;
use crate::identifiers::ServerId;
use crate::postgres::administration::{DatabaseSeen, ServerContents};
use crate::registry::tenants::Status;
use crate::registry::tenants::database_servers::DatabaseServer;
use crate::registry::tenants::inventory::{Entry, Holder};

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A database with our ownership tag that belongs to no tenant.
    OrphanDatabase,
    /// A role with our ownership tag that belongs to no tenant.
    OrphanRole,
    /// A database that the registry expects does not exist.
    MissingDatabase,
    /// A role that the registry expects does not exist.
    MissingRole,
    /// Other roles than its own may connect to a database, or are connected to it.
    OpenDatabase,
    /// The contents of the server could not be read.
    UnreachableServer,
}

impl FindingKind {
    /// All kinds of findings.
    pub const ALL: [Self; 6] = [
        Self::OrphanDatabase,
        Self::OrphanRole,
        Self::MissingDatabase,
        Self::MissingRole,
        Self::OpenDatabase,
        Self::UnreachableServer,
    ];

    /// Stable name, for metrics and scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::OrphanDatabase => "orphan_database",
            Self::OrphanRole => "orphan_role",
            Self::MissingDatabase => "missing_database",
            Self::MissingRole => "missing_role",
            Self::OpenDatabase => "open_database",
            Self::UnreachableServer => "unreachable_server",
        }
    }
}

/// A difference between a server and the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind of difference.
    pub kind: FindingKind,
    /// The id of the server.
    pub server: ServerId,
    /// What operators call the server.
    pub server_name: String,
    /// Name of the database or the role; name of the server if the server is unreachable.
    pub name: String,
    /// Slug of the tenant whose database or role is concerned, if there is one.
    pub tenant: Option<String>,
    /// More information, for example the reason why a server is unreachable.
    pub detail: Option<String>,
    /// Text that says what an operator can do.
    pub fix: String,
}

impl Finding {
    fn new(kind: FindingKind, server: &DatabaseServer, name: &str, fix: String) -> Self {
        Self {
            kind,
            server: server.id,
            server_name: server.name.clone(),
            name: name.to_owned(),
            tenant: None,
            detail: None,
            fix,
        }
    }

    pub(super) fn unreachable(server: &DatabaseServer, reason: String) -> Self {
        let fix = "`narthex servers list` shows where it should be".to_owned();
        let finding = Self::new(FindingKind::UnreachableServer, server, &server.name, fix);
        Self { detail: Some(reason), ..finding }
    }

    fn orphan(kind: FindingKind, server: &DatabaseServer, name: &str) -> Self {
        let fix = format!("narthex reconcile --drop {name} --server {}", server.name);
        Self::new(kind, server, name, fix)
    }

    fn missing(kind: FindingKind, server: &DatabaseServer, name: &str, entry: &Entry) -> Self {
        let slug = entry.slug.as_deref().unwrap_or_default();
        let fix = match entry.holder {
            Holder::Tenant(Status::Active | Status::Suspended | Status::Failed) => {
                format!("narthex tenants provision {slug}")
            }
            Holder::Tenant(Status::Deleted) => {
                format!("narthex tenants restore {slug}; narthex tenants provision {slug}")
            }
            Holder::Tenant(_) | Holder::Run => format!("narthex runs list --tenant {slug}"),
            Holder::Spare { .. } => {
                "nothing: it is a spare; the tenant that gets it is copied from the template"
                    .to_owned()
            }
        };
        Self { tenant: entry.slug.clone(), ..Self::new(kind, server, name, fix) }
    }

    fn open(
        server: &DatabaseServer,
        name: &str,
        seen: &DatabaseSeen,
        entry: Option<&Entry>,
    ) -> Self {
        let fix = match entry.map(|entry| (entry.holder, entry.slug.as_deref())) {
            Some((Holder::Tenant(_), Some(slug))) => format!("narthex tenants provision {slug}"),
            Some(_) => format!(
                "REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC; if somebody has written into it, \
                 it is dropped when it is claimed"
            ),
            None => format!("DROP DATABASE {name}: the template is built anew"),
        };
        let detail = match seen {
            DatabaseSeen { is_open: true, .. } => {
                "roles that have no business there may connect".to_owned()
            }
            DatabaseSeen { uninvited, .. } => {
                format!("{uninvited} session(s) in it of roles that may not connect")
            }
        };
        Self {
            tenant: entry.and_then(|entry| entry.slug.clone()),
            detail: Some(detail),
            ..Self::new(FindingKind::OpenDatabase, server, name, fix)
        }
    }

    /// True if a later read of the server shows the same difference.
    pub(super) fn still_holds(&self, contents: &ServerContents) -> bool {
        match self.kind {
            FindingKind::OrphanDatabase => {
                contents.databases.get(&self.name).is_some_and(|seen| seen.is_marked)
            }
            FindingKind::OpenDatabase => {
                contents.databases.get(&self.name).is_some_and(lets_others_in)
            }
            FindingKind::OrphanRole => contents.roles.get(&self.name) == Some(&true),
            FindingKind::MissingDatabase => !contents.databases.contains_key(&self.name),
            FindingKind::MissingRole => !contents.roles.contains_key(&self.name),
            FindingKind::UnreachableServer => true,
        }
    }
}

fn lets_others_in(seen: &DatabaseSeen) -> bool {
    seen.is_open || seen.uninvited > 0
}

/// Compares one server with the registry. A name that belongs to a tenant on any server is not an
/// orphan on this one, because two rows can name the same server.
pub(super) fn compare(
    server: &DatabaseServer,
    contents: &ServerContents,
    entries: &[Entry],
) -> Vec<Finding> {
    use FindingKind::{MissingDatabase, MissingRole, OrphanDatabase, OrphanRole};
    let known = |name: fn(&Entry) -> Option<&String>| -> BTreeSet<&String> {
        entries.iter().filter_map(name).collect()
    };
    let databases = known(|entry| entry.database.as_ref());
    let roles = known(|entry| entry.role.as_ref());
    let mut found = Vec::new();
    let marked = contents.databases.iter().filter(|(_, seen)| seen.is_marked).map(|(name, _)| name);
    let orphans = marked.filter(|name| !databases.contains(name));
    found.extend(orphans.map(|name| Finding::orphan(OrphanDatabase, server, name)));
    let marked = contents.roles.iter().filter(|(_, is_marked)| **is_marked).map(|(name, _)| name);
    let orphans = marked.filter(|name| !roles.contains(name));
    found.extend(orphans.map(|name| Finding::orphan(OrphanRole, server, name)));
    for (name, seen) in contents.databases.iter().filter(|(_, seen)| lets_others_in(seen)) {
        let entry = entries.iter().find(|entry| entry.database.as_ref() == Some(name));
        let is_ours = match entry {
            Some(entry) => entry.is_settled(),
            None => name.starts_with(TEMPLATE_PREFIX),
        };
        if is_ours {
            found.push(Finding::open(server, name, seen, entry));
        }
    }
    let here = |entry: &&Entry| entry.server == Some(server.id) && entry.is_settled();
    for entry in entries.iter().filter(here) {
        let missing = |name: &&String| !contents.databases.contains_key(*name);
        if let Some(name) = entry.database.as_ref().filter(missing) {
            found.push(Finding::missing(MissingDatabase, server, name, entry));
        }
        let missing = |name: &&String| !contents.roles.contains_key(*name);
        if let Some(name) = entry.role.as_ref().filter(missing) {
            found.push(Finding::missing(MissingRole, server, name, entry));
        }
    }
    found
}
