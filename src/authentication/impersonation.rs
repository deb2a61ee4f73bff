//! Operators who look into a tenant to help: for a while, with a reason, seen and revocable by the tenant.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::json;

use super::operators::OperatorCaller;
use super::token::{Claims, Subject};
use super::{Authentication, AuthenticationError};
use crate::audit::{Act, Origin};
use crate::identifiers::{TenantId, unguessable_id};
use crate::registry::RegistryError;
use crate::registry::people::audit_log::TENANT;
use crate::registry::people::operators::{Operator, Role, sessions, uphold};
use crate::registry::tenants::Tenant;
use crate::tenant_data::impersonations::{self, Impersonation};

/// So long a visit can last.
pub const LONGEST_VISIT: TimeDelta = TimeDelta::minutes(60);
/// Who may look into tenants at all.
const LEAST: Role = Role::Support;

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

impl Authentication {
    /// Lets an operator into a tenant. It stands in the tenant's own audit log, and in that of the operators, before they get
    /// anything to call with.
    pub async fn impersonate(
        &self,
        tenant: &Arc<Tenant>,
        caller: &OperatorCaller,
        wanted: WantedImpersonation,
        origin: &Origin,
    ) -> Result<ImpersonationToken, AuthenticationError> {
        let Operator { id: operator_id, name, role, .. } = &caller.operator;
        if wanted.may_write && *role < Role::Admin {
            return Err(AuthenticationError::NotRaised);
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
        let begun = self.change(&db, origin, async |transaction| {
            // Asked again before the tenant's part of it commits.
            if let Some(warrant) = &origin.warrant {
                let registry = self.registry.connect().await?;
                let operator = uphold(&registry, warrant, self.clock.now()).await?;
                if wanted.may_write && operator.role < Role::Admin {
                    return Err(AuthenticationError::NotRaised);
                }
            }
            impersonations::add(transaction, impersonation.clone()).await?;
            let act = Act::on("impersonation.begun", "impersonation", impersonation.id);
            Ok(((), act.with(detail)))
        });
        begun.await?;
        drop(db);
        let transaction = self.registry.begin().await?;
        // The reason may name people: it stays with the tenant.
        let detail = json!({"impersonation": impersonation.id, "may_write": wanted.may_write});
        let act = Act::on("tenant.impersonated", TENANT, tenant.id).with(detail);
        self.conclude(transaction, origin, act).await?;
        let subject = Subject {
            tenant: TenantId(tenant.id),
            staff: *operator_id,
            session: impersonation.id,
            role: "operator".to_owned(),
        };
        let access_token = self.tokens.issue_for(subject, wanted.life, Some(caller.claims.sid))?;
        let expires_in = wanted.life.num_seconds();
        Ok(ImpersonationToken { impersonation, access_token, expires_in })
    }

    /// The role of an operator who was let in, if they are still signed in and may still look into tenants.
    pub(super) async fn role_of_visitor(
        &self,
        claims: &Claims,
    ) -> Result<Option<Role>, RegistryError> {
        let Some(session) = claims.imp else { return Ok(None) };
        let db = self.registry.connect().await?;
        let found = sessions::operator_in(&db, session, claims.sub, self.clock.now()).await?;
        Ok(found.map(|found| found.role).filter(|role| *role >= LEAST))
    }
}
