//! A request's rights are asked twice: when its headers are read, before its body is paid for, and again in the transaction that
//! changes something. Between the two lies the body, which the client sends when it likes; what counts is the second answer.

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

/// A caller who wants to change something in their tenant.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Who.
    pub caller: Caller,
    /// From where, for the audit log.
    pub client: Option<Client>,
    /// What the change needs. `None`: it concerns the caller's own account.
    pub permission: Option<&'static str>,
    /// Can the change give or take rights, or end sessions? It then runs when no other change of the tenant does.
    pub changes_rights: bool,
}

impl Principal {
    /// Of a member of staff; programs and operators have no account.
    pub fn claims(&self) -> Result<&Claims, AccessError> {
        match &self.caller {
            Caller::Staff(claims) => Ok(claims),
            Caller::Service(_) | Caller::Operator(_) => Err(TokenError::Invalid.into()),
        }
    }
}

impl Authenticator {
    /// Changes something in a tenant, with an entry in its audit log, for a caller who may do so when it is done: session,
    /// role and permissions are read in the transaction, and stay so until it has ended.
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

    /// Reads something in a tenant for a caller who is about to change something there, and is judged already: what is written
    /// elsewhere before the change itself must not be written for just anybody.
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

    /// What a caller may do now, and until the transaction ends. Refused: their session is over, they may not call any more, or
    /// are not permitted what they want.
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
        // Asked only for what may need it.
        let has_stepped_up = by.changes_rights && self.has_stepped_up(&by.caller).await?;
        Ok(Rights { has_stepped_up, ..rights })
    }

    /// Fails where a caller is not permitted something.
    pub fn require(&self, rights: &Rights, permission: &'static str) -> Result<(), AccessError> {
        if rights.must_enroll {
            return Err(AccessError::MustEnroll);
        }
        match rights.permissions.iter().any(|held| held == permission) {
            true => Ok(()),
            false => Err(AccessError::NotPermitted(permission)),
        }
    }

    /// Does the session of a token go on? One of an identity provider has no row in the tenant's database: the registry knows
    /// whether it was ended here.
    async fn is_open(
        &self,
        transaction: &TenantTransaction,
        claims: &Claims,
    ) -> Result<bool, AccessError> {
        let now = self.clock.now();
        if self.is_clerks(claims) {
            let registry = self.registry.connect().await?;
            return Ok(!revoked_tokens::is_revoked(&registry, claims.sid, now).await?);
        }
        Ok(sessions::is_open(transaction, claims.sub, claims.sid, now).await?)
    }

    /// Changes something in a tenant for an origin that is judged already: see [`audit_log::change`].
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

    /// Writes down what a member of staff is doing to an account, in the transaction that does it.
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
