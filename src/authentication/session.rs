//! Sessions: opened at sign-in, prolonged by a refresh token, ended by signing out.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DbErr, TransactionSession, TransactionTrait};
use uuid::Uuid;

use super::opaque_token::OpaqueToken;
use super::token::{Claims, Subject};
use super::{Authentication, AuthenticationError, Client, Principal, SignedIn, TokenError};
use crate::audit::{Act, Origin};
use crate::identifiers::{TenantId, unguessable_id};
use crate::paging::{Page, PageRequest};
use crate::postgres::Scoped;
use crate::tenant_data::audit_log;
use crate::tenant_data::sessions::{self, NewSession, Rotation, Session};
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::{HostName, RouterError, TenantDb, TenantTransaction};

/// What a client calls with.
pub struct TokenPair {
    /// For each request.
    pub access_token: String,
    /// For the next pair; good once.
    pub refresh_token: String,
    /// Seconds until the access token expires.
    pub expires_in: i64,
    /// Seconds until the refresh token does.
    pub refresh_expires_in: i64,
}

impl Authentication {
    pub(super) async fn open_session(
        &self,
        db: &TenantDb,
        user: &StaffMember,
        client: &Client,
        now: DateTime<Utc>,
    ) -> Result<TokenPair, AuthenticationError> {
        let transaction = db.begin().await?;
        match self.open_session_in(&transaction, user, client, now).await {
            Ok(tokens) => {
                transaction.commit().await?;
                Ok(tokens)
            }
            Err(refused) => {
                transaction.rollback().await?;
                Err(refused)
            }
        }
    }

    /// As [`Self::open_session`], in one transaction with what makes it theirs.
    pub(super) async fn open_session_in(
        &self,
        transaction: &TenantTransaction,
        user: &StaffMember,
        client: &Client,
        now: DateTime<Utc>,
    ) -> Result<TokenPair, AuthenticationError> {
        let tenant = TenantId(transaction.scope().tenant().id);
        let refresh = self.new_token(tenant)?;
        let session = unguessable_id();
        // They may have been shut out, or their password changed, while it was being checked; whoever did that has ended
        // the sessions that there were.
        if !staff::hold_active(transaction, user).await? {
            return Err(AuthenticationError::InvalidCredentials);
        }
        let new = NewSession {
            id: session,
            staff: user.id,
            client,
            token_hash: refresh.hash(),
            expires_at: now + self.session_life(),
        };
        sessions::open(transaction, new, now).await?;
        let act = Act::on("session.opened", "session", session);
        self.note(transaction, user, client, act).await?;
        Ok(self.token_pair(tenant, user, session, &refresh)?)
    }

    /// A new pair for a refresh token. One that was used before ends its session on every replica: either the
    /// client or a thief holds a copy, and we cannot tell which. But a moment after its use it brings the same refresh token
    /// again, as long as that was not used. At the host of another tenant it is refused and not
    /// used up.
    pub async fn refresh(
        &self,
        token: &str,
        host: Option<&HostName<'_>>,
        client: &Client,
    ) -> Result<SignedIn, AuthenticationError> {
        let refused = || AuthenticationError::InvalidRefreshToken;
        let old = OpaqueToken::parse(token).ok_or_else(refused)?;
        let tenant = self.router.directory().tenant(old.tenant).await?.ok_or_else(refused)?;
        if let Some(host) = host
            && !self.router.directory().host_agrees(host, &tenant).await?
        {
            return Err(AuthenticationError::TenantMismatch);
        }
        let db = self.router.connect(&tenant).await?;
        let new = old.successor(self.registry.hasher());
        let now = self.clock.now();
        let transaction = db.begin().await?;
        let life = self.session_life();
        let rotation =
            sessions::rotate(&transaction, old.hash(), new.hash(), client, now, life).await?;
        let session = match rotation {
            // Ended while the tenant could not be reached.
            Rotation::Rotated(session) | Rotation::Repeated(session)
                if self.revocations.is_revoked(session.id) =>
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
                    let act = Act::on("session.stolen", "session", session.id);
                    self.note(&transaction, &user, client, act).await?;
                }
                transaction.commit().await?;
                drop(db);
                tracing::warn!(tenant = %old.tenant, session = %session.id, "a used refresh token came back; its session is ended");
                self.revocations.revoke(old.tenant, &[session.id], self.tokens.life()).await?;
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

    /// The caller's sessions.
    pub async fn sessions(
        &self,
        db: &TenantDb,
        claims: &Claims,
        page: PageRequest,
    ) -> Result<Page<Session>, AuthenticationError> {
        Ok(sessions::list(db, claims.sub, self.clock.now(), page).await?)
    }

    /// Ends one of the caller's sessions. The registry hears of it before it is committed: should the registry not be there,
    /// nothing has changed, and the caller can ask again.
    pub async fn end_session(
        &self,
        db: TenantDb,
        by: &Principal,
        session: Uuid,
    ) -> Result<(), AuthenticationError> {
        self.change_by(&db, by, async |transaction, _| {
            let (claims, now) = (by.claims()?, self.clock.now());
            let ended = sessions::revoke_of(transaction, claims.sub, session, now).await?;
            let was_open = ended.ok_or(AuthenticationError::NoSuchSession)?;
            // One that has ended before, too: a first attempt may have stopped half-way.
            self.revocations.revoke(claims.tid, &[session], self.tokens.life()).await?;
            Ok(((), was_open.then(|| Act::on("session.ended", "session", session))))
        })
        .await
    }

    /// Changes something in a tenant: see [`audit_log::change`].
    pub(super) async fn change<T, F>(
        &self,
        db: &TenantDb,
        origin: &Origin,
        change: F,
    ) -> Result<T, AuthenticationError>
    where
        F: AsyncFnOnce(&TenantTransaction) -> Result<(T, Act), AuthenticationError>,
    {
        let (hasher, now) = (self.registry.hasher(), self.clock.now());
        let noted = async |transaction: &TenantTransaction| {
            let (done, act) = change(transaction).await?;
            Ok::<_, AuthenticationError>((done, origin.clone(), act))
        };
        audit_log::change(db, hasher, now, noted).await
    }

    /// Writes down what a member of staff is doing to an account, theirs by their own doing.
    pub(super) async fn note(
        &self,
        transaction: &TenantTransaction,
        user: &StaffMember,
        client: &Client,
        act: Act,
    ) -> Result<(), DbErr> {
        let origin = Origin::of(user.actor(), Some(client));
        let (hasher, now) = (self.registry.hasher(), self.clock.now());
        audit_log::note(transaction, hasher, &origin, act, now).await
    }

    pub(super) fn session_life(&self) -> TimeDelta {
        TimeDelta::from_std(self.settings.refresh_token_ttl).unwrap_or(TimeDelta::days(30))
    }

    pub(super) fn new_token(&self, tenant: TenantId) -> Result<OpaqueToken, AuthenticationError> {
        OpaqueToken::generate(tenant, self.registry.sealer())
            .map_err(|e| AuthenticationError::Router(RouterError::Registry(e.into())))
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
            access_token: self.tokens.issue(subject)?,
            refresh_token: refresh.to_text(),
            expires_in: self.tokens.life().num_seconds(),
            refresh_expires_in: self.session_life().num_seconds(),
        })
    }
}
