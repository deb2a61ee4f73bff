//! Operators who look into a tenant to help: for a while, with a reason, seen and revocable by the tenant.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use crate::access::{AccessError, Authenticator, OperatorCaller, Subject, from_access_causes};
use crate::audit::{AuditEvent, Origin};
use crate::clock::Clock;
use crate::identifiers::{TenantId, unguessable_id};
use crate::registry::Registry;
use crate::registry::people::audit_log::{self, TENANT};
use crate::registry::people::operators::{Operator, Role, uphold};
use crate::registry::tenants::Tenant;
use crate::tenant_data::impersonations::{self, Impersonation};
use crate::tenant_router::{TenantRouter, TenantTransaction};

/// Why an operator is not let into a tenant.
#[derive(Debug, thiserror::Error)]
pub enum ImpersonationError {
    /// Only admins change anything in a tenant.
    #[error("only an admin may change anything in a tenant")]
    AdminRequired,
    /// The operator is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(ImpersonationError);

/// What an operator wants.
pub struct WantedImpersonation {
    /// In their own words, for the tenant to read.
    pub reason: String,
    /// To change something as well; only for admins.
    pub may_write: bool,
    /// How long.
    pub life: TimeDelta,
}

/// What an operator calls the tenant's API with.
pub struct ImpersonationToken {
    /// Which.
    pub impersonation: Impersonation,
    /// A token of the tenant's audience, that is good for nothing of an account.
    pub access_token: String,
    /// Seconds.
    pub expires_in: i64,
}

/// Begins and ends sessions of operators in a tenant.
#[derive(Clone)]
pub struct Impersonations {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) clock: Clock,
}

impl Impersonations {
    /// Lets an operator into a tenant. It stands in the tenant's own audit log, and in that of the operators, before they get
    /// anything to call with.
    pub async fn begin(
        &self,
        tenant: &Arc<Tenant>,
        caller: &OperatorCaller,
        wanted: WantedImpersonation,
        origin: &Origin,
    ) -> Result<ImpersonationToken, ImpersonationError> {
        let Operator { id: operator_id, name, role, .. } = &caller.operator;
        if wanted.may_write && *role < Role::Admin {
            return Err(ImpersonationError::AdminRequired);
        }
        let now = self.clock.now();
        let impersonation = Impersonation {
            id: unguessable_id(),
            operator_id: *operator_id,
            operator_name: name.clone(),
            reason: wanted.reason,
            may_write: wanted.may_write,
            created_at: now,
            expires_at: now + wanted.life,
            revoked_at: None,
        };
        let detail = json!({"reason": impersonation.reason, "may_write": impersonation.may_write,
            "expires_at": impersonation.expires_at});
        let db = self.router.connect(tenant).await?;
        let begun = self.access.change(&db, origin, async |transaction| {
            // Asked again before the tenant's part of it commits.
            if let Some(warrant) = &origin.warrant {
                let registry = self.registry.connect().await?;
                let operator = uphold(&registry, warrant, self.clock.now()).await?;
                if wanted.may_write && operator.role < Role::Admin {
                    return Err(ImpersonationError::AdminRequired);
                }
            }
            impersonations::add(transaction, impersonation.clone()).await?;
            let event = AuditEvent::on("impersonation.begun", "impersonation", impersonation.id);
            Ok(((), event.with(detail)))
        });
        begun.await?;
        drop(db);
        // The reason may name people: it stays with the tenant.
        let detail = json!({"impersonation": impersonation.id, "may_write": wanted.may_write});
        let event = AuditEvent::on("tenant.impersonated", TENANT, tenant.id).with(detail);
        audit_log::record_alone(&self.registry, origin, event, self.clock.now()).await?;
        let subject = Subject {
            tenant: TenantId(tenant.id),
            staff: *operator_id,
            session: impersonation.id,
            role: "operator".to_owned(),
        };
        let access_token =
            self.access.tokens().issue_for(subject, wanted.life, Some(caller.claims.sid))?;
        let expires_in = wanted.life.num_seconds();
        Ok(ImpersonationToken { impersonation, access_token, expires_in })
    }

    /// The tenant shuts an operator out: here at once, on every replica within a second. `None`: there is none with this id. Done
    /// before, it is no act: see [`crate::accounts::ApiKeys::revoke`].
    pub async fn revoke(
        &self,
        transaction: &TenantTransaction,
        tenant: TenantId,
        id: Uuid,
    ) -> Result<Option<Option<AuditEvent>>, AccessError> {
        let revoked = impersonations::revoke(transaction, id, self.clock.now()).await?;
        let Some((impersonation, went_on)) = revoked else { return Ok(None) };
        // For all the time that is left to it: should this be cut off, the tenant asks again.
        let left = (impersonation.expires_at - self.clock.now()).max(self.access.tokens().life());
        self.access.revoke_for(tenant, &[id], left).await?;
        let event = AuditEvent::on("impersonation.revoked", "impersonation", id);
        let event = event.with(json!({"operator": impersonation.operator_name}));
        Ok(Some(went_on.then_some(event)))
    }
}
