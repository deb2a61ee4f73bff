//! Sessions of staff: opened by a sign-in, extended with a refresh token, ended by a sign-out.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DbErr, TransactionSession, TransactionTrait};
use uuid::Uuid;

use super::error::CredentialError;
use crate::access::{
    AccessError, Authenticator, Claims, Client, OpaqueToken, Principal, Subject, TokenError,
    from_access_causes,
};
use crate::audit::AuditEvent;
use crate::clock::Clock;
use crate::configuration::AuthSettings;
use crate::identifiers::{TenantId, unguessable_id};
use crate::paging::{Page, PageRequest};
use crate::postgres::Scoped;
use crate::registry::Registry;
use crate::registry::people::step_ups;
use crate::registry::tenants::Tenant;
use crate::tenant_data::one_time_tokens::{self, Purpose};
use crate::tenant_data::sessions::{self, NewSession, Rotation, Session};
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::{HostName, TenantDb, TenantRouter, TenantTransaction};

/// Reason why a session is not extended or not ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The refresh token is unknown, expired, used or revoked.
    #[error("the refresh token is not valid")]
    InvalidRefreshToken,
    /// The caller has no session with this id.
    #[error("the caller has no such session")]
    NotFound,
    /// The caller is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(SessionError);

/// The tokens of a session.
pub struct TokenPair {
    /// Access token, sent with each request.
    pub access_token: String,
    /// Refresh token. It is exchanged once for the next pair.
    pub refresh_token: String,
    /// Seconds until the access token expires.
    pub expires_in: i64,
    /// Seconds until the refresh token expires.
    pub refresh_expires_in: i64,
}

/// A user who has signed in.
pub struct SignedIn {
    /// The tenant of the session.
    pub tenant: Arc<Tenant>,
    /// The user's row.
    pub user: StaffMember,
    /// The tokens of the new session.
    pub tokens: TokenPair,
}

/// Opens, extends and ends sessions.
#[derive(Clone)]
pub struct Sessions {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) refresh_life: TimeDelta,
    pub(super) clock: Clock,
}

impl Sessions {
    /// Opens a session for a user with a proven identity.
    pub async fn open(
        &self,
        db: &TenantDb,
        user: &StaffMember,
        client: &Client,
        now: DateTime<Utc>,
    ) -> Result<TokenPair, CredentialError> {
        let opened = async |transaction: &TenantTransaction| {
            self.open_in(transaction, user, client, now).await
        };
        db.begin().await?.run(opened).await
    }

    /// As [`Self::open`], in an existing transaction, such as the one that accepts an invitation.
    pub(super) async fn open_in(
        &self,
        transaction: &TenantTransaction,
        user: &StaffMember,
        client: &Client,
        now: DateTime<Utc>,
    ) -> Result<TokenPair, CredentialError> {
        let tenant = transaction.scope().tenant().id;
        let refresh = OpaqueToken::generate(tenant, self.registry.sealer())?;
        let session = unguessable_id();
        // The user may have been suspended, or the password changed, while the password was
        // verified. That change has ended only the sessions that existed then.
        if !staff::lock_active(transaction, user).await? {
            return Err(CredentialError::InvalidCredentials);
        }
        let new = NewSession {
            id: session,
            staff: user.id,
            client,
            token_hash: refresh.hash(),
            expires_at: now + self.refresh_life,
        };
        sessions::open(transaction, new, now).await?;
        let event = AuditEvent::on("session.opened", "session", session);
        self.access.record(transaction, user, client, event).await?;
        Ok(self.token_pair(tenant, user, session, &refresh)?)
    }

    /// Exchanges a refresh token for a new pair. A token that was used before ends its session on
    /// every replica, because the client or a thief may hold a copy of it. As an exception, a token
    /// returns the same successor again for a few seconds after its use, if the successor is
    /// unused. At the host of another tenant the request is refused, and the token stays valid.
    pub async fn refresh(
        &self,
        token: &str,
        host: Option<&HostName<'_>>,
        client: &Client,
    ) -> Result<SignedIn, SessionError> {
        let refused = || SessionError::InvalidRefreshToken;
        let old = OpaqueToken::parse(token).ok_or_else(refused)?;
        let tenant = self.router.directory().tenant(old.tenant).await?.ok_or_else(refused)?;
        if let Some(host) = host
            && !self.router.directory().host_agrees(host, &tenant).await?
        {
            return Err(AccessError::TenantMismatch.into());
        }
        let db = self.router.connect(&tenant).await?;
        let new = old.successor(self.registry.hasher());
        let now = self.clock.now();
        let transaction = db.begin().await?;
        let life = self.refresh_life;
        let rotation =
            sessions::rotate(&transaction, old.hash(), new.hash(), client, now, life).await?;
        let session = match rotation {
            // The session was ended while the tenant could not be reached.
            Rotation::Rotated(session) | Rotation::Repeated(session)
                if self.access.is_revoked(session.id) =>
            {
                sessions::revoke(&transaction, session.id, now).await?;
                transaction.commit().await?;
                return Err(refused());
            }
            Rotation::Rotated(session) => session,
            Rotation::Repeated(session) => {
                tracing::info!(tenant = %old.tenant, session = %session.id, "a refresh token came again at once; its successor is answered once more");
                session
            }
            Rotation::Reused { session, was_open } => {
                if was_open
                    && let Some(user) = staff::find_active(&transaction, session.staff_id).await?
                {
                    let event = AuditEvent::on("session.stolen", "session", session.id);
                    self.access.record(&transaction, &user, client, event).await?;
                }
                transaction.commit().await?;
                drop(db);
                tracing::warn!(tenant = %old.tenant, session = %session.id, "a used refresh token came back; its session is ended");
                self.access.revoke(old.tenant, &[session.id]).await?;
                return Err(refused());
            }
            Rotation::Refused => {
                transaction.rollback().await?;
                return Err(refused());
            }
        };
        let Some(user) = staff::find_active(&transaction, session.staff_id).await? else {
            transaction.rollback().await?;
            return Err(refused());
        };
        transaction.commit().await?;
        let tokens = self.token_pair(old.tenant, &user, session.id, &new)?;
        Ok(SignedIn { tenant, user, tokens })
    }

    /// Lists the open sessions of the caller.
    pub async fn list(
        &self,
        db: &TenantDb,
        claims: &Claims,
        page: PageRequest,
    ) -> Result<Page<Session>, DbErr> {
        sessions::list(db, claims.sub, self.clock.now(), page).await
    }

    /// Ends one of the caller's sessions. The registry records the revocation before the tenant's
    /// transaction commits: if the registry is unavailable, nothing has changed and the caller can
    /// repeat the request.
    pub async fn end(
        &self,
        db: TenantDb,
        by: &Principal,
        session: Uuid,
    ) -> Result<(), SessionError> {
        self.access
            .change_by(&db, by, async |transaction, _| {
                let (claims, now) = (by.claims()?, self.clock.now());
                let ended = sessions::revoke_of(transaction, claims.sub, session, now).await?;
                let was_open = ended.ok_or(SessionError::NotFound)?;
                // A session that has already ended is revoked too: an earlier attempt may have
                // ended it without recording the revocation.
                self.access.revoke(claims.tid, &[session]).await?;
                Ok(((), was_open.then(|| AuditEvent::on("session.ended", "session", session))))
            })
            .await
    }

    /// Ends all sessions of a user except `but`, cancels a pending change of the address, and
    /// removes the user's step-ups. The registry records the revocations before the tenant's
    /// transaction commits: if the registry is unavailable, nothing has changed and the caller can
    /// repeat the request.
    pub(super) async fn end_all(
        &self,
        transaction: &TenantTransaction,
        tenant: TenantId,
        staff: Uuid,
        but: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<(), AccessError> {
        let since = now - self.access.tokens().life();
        let ended = sessions::revoke_all(transaction, staff, but, now, since).await?;
        one_time_tokens::remove(transaction, staff, Purpose::EmailChange).await?;
        // A step-up in the remaining session becomes invalid as well.
        let registry = self.registry.connect().await?;
        step_ups::forget(&registry, staff).await?;
        drop(registry);
        Ok(self.access.revoke(tenant, &ended).await?)
    }

    fn token_pair(
        &self,
        tenant: TenantId,
        user: &StaffMember,
        session: Uuid,
        refresh: &OpaqueToken,
    ) -> Result<TokenPair, TokenError> {
        let subject = Subject { tenant, staff: user.id, session, role: user.role.clone() };
        Ok(TokenPair {
            access_token: self.access.tokens().issue(subject)?,
            refresh_token: refresh.to_text(),
            expires_in: self.access.tokens().life().num_seconds(),
            refresh_expires_in: self.refresh_life.num_seconds(),
        })
    }
}

/// Life of a refresh token. A session that is not used for this time expires.
pub fn refresh_life(settings: &AuthSettings) -> TimeDelta {
    TimeDelta::from_std(settings.refresh_token_ttl).unwrap_or(TimeDelta::days(30))
}
