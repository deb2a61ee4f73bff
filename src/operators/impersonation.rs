//! Impersonation sessions: an operator acts in a tenant for a limited time, with a reason. The
//! tenant sees the session and can revoke it.

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

/// Reason why an impersonation session is not started.
#[derive(Debug, thiserror::Error)]
pub enum ImpersonationError {
    /// A session that may write is for admins only.
    #[error("only an admin may change anything in a tenant")]
    AdminRequired,
    /// The operator is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(ImpersonationError);

/// Properties of a new impersonation session.
pub struct WantedImpersonation {
    /// The operator's reason, in free text. The tenant reads it.
    pub reason: String,
    /// True if the session may also write; for admins only.
    pub may_write: bool,
    /// Length of the session.
    pub life: TimeDelta,
}

/// The token of a new impersonation session.
pub struct ImpersonationToken {
    /// The new session.
    pub impersonation: Impersonation,
    /// Access token for the tenant's API. It is not valid for operations on an account.
    pub access_token: String,
    /// Seconds until the token expires.
    pub expires_in: i64,
}

/// Starts and revokes impersonation sessions.
#[derive(Clone)]
pub struct Impersonations {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) clock: Clock,
}

impl Impersonations {
    /// Starts an impersonation session. The audit logs of the tenant and of the operators record it
    /// before the token is returned.
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
            // The operator's right is checked again before the transaction in the tenant commits.
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
        // The reason may contain personal data, so only the tenant's log contains it.
        let detail = json!({"impersonation": impersonation.id, "may_write": wanted.may_write});
        let event = AuditEvent::on("tenant.impersonated", TENANT, tenant.id).with(detail);
        audit_log::record_alone(&self.registry, origin, event, self.clock.now()).await?;
        let subject = Subject {
            tenant: tenant.id,
            staff: *operator_id,
            session: impersonation.id,
            role: "operator".to_owned(),
        };
        let access_token =
            self.access.tokens().issue_for(subject, wanted.life, Some(caller.claims.sid))?;
        let expires_in = wanted.life.num_seconds();
        Ok(ImpersonationToken { impersonation, access_token, expires_in })
    }

    /// Revokes an impersonation session for the tenant: at once on this replica, within a second on
    /// every other replica. The return value and the repeated call are as in
    /// [`crate::accounts::ApiKeys::revoke`].
    pub async fn revoke(
        &self,
        transaction: &TenantTransaction,
        tenant: TenantId,
        id: Uuid,
    ) -> Result<Option<Option<AuditEvent>>, AccessError> {
        let revoked = impersonations::revoke(transaction, id, self.clock.now()).await?;
        let Some((impersonation, went_on)) = revoked else { return Ok(None) };
        // The revocation lasts for the rest of the session. If this step fails, the tenant can
        // repeat the request.
        let left = (impersonation.expires_at - self.clock.now()).max(self.access.tokens().life());
        self.access.revoke_for(tenant, &[id], left).await?;
        let event = AuditEvent::on("impersonation.revoked", "impersonation", id);
        let event = event.with(json!({"operator": impersonation.operator_name}));
        Ok(Some(went_on.then_some(event)))
    }
}
