//! From one status of a tenant to another, if it is still that one: suspended, resumed, deleted, restored.

use super::edit::{Tenants, keep};
use crate::audit::{AuditEvent, Origin};
use crate::identifiers::TenantId;
use crate::registry::inbox::clerk;
use crate::registry::people::audit_log;
use crate::registry::tenants::{self, Status};
use crate::registry::{RegistryError, RegistryTransaction};

/// What operators do to a whole tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusChange {
    /// Locks everybody of it out.
    Suspend,
    /// Lets a suspended tenant in again.
    Resume,
    /// Until its time is over it can be restored.
    Delete,
    /// Makes a deleted tenant again what it was.
    Restore,
}

impl StatusChange {
    /// What has been done then.
    pub fn done(self) -> &'static str {
        match self {
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Delete => "deleted",
            Self::Restore => "restored",
        }
    }

    /// In which status the tenant usually is then.
    pub fn status(self) -> Status {
        match self {
            Self::Suspend => Status::Suspended,
            Self::Resume | Self::Restore => Status::Active,
            Self::Delete => Status::Deleted,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Suspend => "tenant.suspended",
            Self::Resume => "tenant.resumed",
            Self::Delete => "tenant.deleted",
            Self::Restore => "tenant.restored",
        }
    }
}

impl Tenants {
    /// Changes a tenant's status, and writes down who did it. `false`: it is not in a status from which that can be done.
    pub async fn change_status(
        &self,
        tenant: TenantId,
        change: StatusChange,
        origin: &Origin,
    ) -> Result<bool, RegistryError> {
        let now = self.clock.now();
        let changed = async |transaction: &RegistryTransaction| {
            let between = |from, to| tenants::change_status(transaction, tenant, from, to, now);
            let changed = match change {
                StatusChange::Suspend => between(Status::Active, Status::Suspended).await?,
                StatusChange::Resume => between(Status::Suspended, Status::Active).await?,
                StatusChange::Delete => tenants::delete(transaction, tenant, now).await?,
                StatusChange::Restore => tenants::restore(transaction, tenant, now).await?,
            };
            if !changed {
                return Ok((false, None));
            }
            // Whoever has left meanwhile gets in no more.
            clerk::settle_again(transaction, tenant, now).await?;
            keep(transaction, tenant, origin).await?;
            let event = AuditEvent::on(change.action(), audit_log::TENANT, tenant);
            Ok::<_, RegistryError>((true, Some(event)))
        };
        audit_log::change(&self.registry, origin, now, changed).await
    }
}
