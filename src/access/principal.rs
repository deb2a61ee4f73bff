//! The rights of a request are checked twice: when its headers are read, before the body is read,
//! and again in the transaction that makes the change. The client decides when it sends the body,
//! so only the second check counts.

use sea_orm::{DbErr, TransactionSession, TransactionTrait};

use super::authenticator::Authenticator;
use super::caller::Caller;
use super::error::{AccessError, TokenError};
use super::tokens::Claims;
use crate::audit::{AuditEvent, Client, Origin};
use crate::registry::people::revoked_tokens;
use crate::tenant_data::rights::{self, Rights};
use crate::tenant_data::staff::StaffMember;
use crate::tenant_data::{audit_log, sessions};
use crate::tenant_router::{TenantDb, TenantTransaction};

/// A caller who wants to change something in the caller's tenant.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The authenticated caller.
    pub caller: Caller,
    /// Address, user agent and request id of the client, for the audit log.
    pub client: Option<Client>,
    /// The permission that the change needs. `None` if it concerns the caller's own account.
    pub permission: Option<&'static str>,
    /// True if the change can grant or revoke rights, or end sessions. Such a change never runs at
    /// the same time as another change of the tenant.
    pub changes_rights: bool,
}

impl Principal {
    /// The claims of a member of staff. Service clients and operators have no account; they get
    /// [`TokenError::Invalid`].
    pub fn claims(&self) -> Result<&Claims, AccessError> {
        match &self.caller {
            Caller::Staff(claims) => Ok(claims),
            Caller::Service(_) | Caller::Operator(_) => Err(TokenError::Invalid.into()),
        }
    }
}

impl Authenticator {
    /// Runs a change in a tenant and writes its audit log entry in the same transaction. Session,
    /// role and permissions are checked in the transaction and stay locked until it ends.
    pub async fn change_by<T, A, E, F>(
        &self,
        db: &TenantDb,
        by: &Principal,
        change: F,
    ) -> Result<T, E>
    where
        F: AsyncFnOnce(&TenantTransaction, &Rights) -> Result<(T, A), E>,
        A: Into<Option<AuditEvent>>,
        E: From<AccessError> + From<DbErr>,
    {
        let (hasher, now) = (self.registry.hasher(), self.clock.now());
        let judged = async |transaction: &TenantTransaction| {
            let rights = self.authorize(transaction, by).await?;
            let (done, event) = change(transaction, &rights).await?;
            Ok::<_, E>((done, Origin::of(rights.actor, by.client.as_ref()), event))
        };
        audit_log::change(db, hasher, now, judged).await
    }

    /// Checks the caller's rights and reads something in a tenant, before a change that also writes
    /// outside the tenant's database. That write must not happen for a caller without the
    /// permission.
    pub async fn look_by<T, E, F>(&self, db: &TenantDb, by: &Principal, look: F) -> Result<T, E>
    where
        F: AsyncFnOnce(&TenantTransaction, &Rights) -> Result<T, E>,
        E: From<AccessError> + From<DbErr>,
    {
        let transaction = db.begin().await?;
        let looked = async {
            let rights = self.authorize(&transaction, by).await?;
            look(&transaction, &rights).await
        }
        .await;
        transaction.rollback().await?;
        looked
    }

    /// The caller's rights, locked until the transaction ends. Fails if the session has ended, the
    /// caller may not call any more, or the caller lacks the permission.
    pub async fn authorize(
        &self,
        transaction: &TenantTransaction,
        by: &Principal,
    ) -> Result<Rights, AccessError> {
        rights::lock(transaction, by.changes_rights).await?;
        if let Caller::Staff(claims) = &by.caller
            && !self.is_open(transaction, claims).await?
        {
            return Err(TokenError::Revoked.into());
        }
        let rights = self.read_rights(transaction, &by.caller).await?;
        if self.has_revoked(&rights) {
            return Err(TokenError::Revoked.into());
        }
        let Some(permission) = by.permission else { return Ok(rights) };
        self.require(&rights, permission)?;
        // Only changes that can grant or revoke rights need the step-up.
        let has_stepped_up = by.changes_rights && self.has_stepped_up(&by.caller).await?;
        Ok(Rights { has_stepped_up, ..rights })
    }

    /// Fails if the caller lacks the permission.
    pub fn require(&self, rights: &Rights, permission: &'static str) -> Result<(), AccessError> {
        if rights.must_enroll {
            return Err(AccessError::MustEnroll);
        }
        match rights.permissions.iter().any(|held| held == permission) {
            true => Ok(()),
            false => Err(AccessError::NotPermitted(permission)),
        }
    }

    /// True if the session of the token is open. A session of an identity provider has no row in
    /// the tenant's database; for such a session the revocations say whether it was ended.
    async fn is_open(
        &self,
        transaction: &TenantTransaction,
        claims: &Claims,
    ) -> Result<bool, AccessError> {
        let now = self.clock.now();
        if self.is_issued_by_clerk(claims) {
            let registry = self.registry.connect().await?;
            return Ok(!revoked_tokens::is_revoked(&registry, claims.sid, now).await?);
        }
        Ok(sessions::is_open(transaction, claims.sub, claims.sid, now).await?)
    }

    /// Runs a change in a tenant for an origin that is already authorized: see
    /// [`audit_log::change`].
    pub async fn change<T, E, F>(&self, db: &TenantDb, origin: &Origin, change: F) -> Result<T, E>
    where
        F: AsyncFnOnce(&TenantTransaction) -> Result<(T, AuditEvent), E>,
        E: From<DbErr>,
    {
        let (hasher, now) = (self.registry.hasher(), self.clock.now());
        let noted = async |transaction: &TenantTransaction| {
            let (done, event) = change(transaction).await?;
            Ok::<_, E>((done, origin.clone(), event))
        };
        audit_log::change(db, hasher, now, noted).await
    }

    /// Writes the audit log entry of a member of staff's action, in the transaction of that action.
    pub async fn record(
        &self,
        transaction: &TenantTransaction,
        user: &StaffMember,
        client: &Client,
        event: AuditEvent,
    ) -> Result<(), DbErr> {
        let origin = Origin::of(user.actor(), Some(client));
        let (hasher, now) = (self.registry.hasher(), self.clock.now());
        audit_log::record(transaction, hasher, &origin, event, now).await
    }
}
