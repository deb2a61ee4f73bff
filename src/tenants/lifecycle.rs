//! Changes of a tenant's status: suspended, resumed, deleted, restored. Each change starts from a
//! certain status.

use super::edit::{Tenants, keep};
use crate::audit::{AuditEvent, Origin};
use crate::identifiers::TenantId;
use crate::registry::inbox::clerk;
use crate::registry::people::audit_log;
use crate::registry::tenants::{self, Status};
use crate::registry::{RegistryError, RegistryTransaction};

/// A change of a tenant's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusChange {
    /// Refuses all requests of the tenant.
    Suspend,
    /// Admits requests of a suspended tenant again.
    Resume,
    /// Deletes the tenant. It can be restored during the grace period.
    Delete,
    /// Gives a deleted tenant the status that it had before.
    Restore,
}

impl StatusChange {
    /// Past participle of the change, for messages.
    pub fn done(self) -> &'static str {
        match self {
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Delete => "deleted",
            Self::Restore => "restored",
        }
    }

    /// The usual status of the tenant after the change.
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
    /// Changes the status and writes an audit log entry. Returns `false` if the current status does
    /// not allow the change.
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
            // Members who left the organization at Clerk in the meantime get no access.
            clerk::settle_again(transaction, tenant, now).await?;
            keep(transaction, tenant, origin).await?;
            let event = AuditEvent::on(change.action(), audit_log::TENANT, tenant);
            Ok::<_, RegistryError>((true, Some(event)))
        };
        audit_log::change(&self.registry, origin, now, changed).await
    }
}
