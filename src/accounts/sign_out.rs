//! Sign-out. It needs no valid access token: an expired access token or a refresh token alone
//! identifies the session.

use std::sync::Arc;

use sea_orm::{TransactionSession, TransactionTrait};
use uuid::Uuid;

use super::sessions::{SessionError, Sessions};
use crate::access::{AccessError, Authenticator, Claims, Client, OpaqueToken, TokenError};
use crate::audit::{AuditEvent, Origin};
use crate::identifiers::TenantId;
use crate::registry::tenants::Tenant;
use crate::tenant_data::one_time_tokens::{self, Purpose};
use crate::tenant_data::{audit_log, rights, sessions};
use crate::tenant_router::TenantTransaction;

/// The tokens of a sign-out request.
pub struct SigningOut {
    /// The id of the tenant that the tokens belong to.
    pub tenant: TenantId,
    access: Option<Arc<Claims>>,
    refresh: Option<OpaqueToken>,
}

impl SigningOut {
    fn sessions_end_at_clerk(&self, access: &Authenticator) -> bool {
        self.access.as_deref().is_some_and(|claims| access.is_issued_by_clerk(claims))
    }
}

impl Sessions {
    /// Identifies the session to end. An access token needs only a valid signature, at any age; a
    /// refresh token may be used already. One of the two is enough.
    pub async fn signing_out(
        &self,
        access: Option<&str>,
        refresh: Option<&str>,
    ) -> Result<SigningOut, SessionError> {
        let refresh = refresh.and_then(OpaqueToken::parse);
        let access = match access {
            Some(token) => self.access.claims_ignoring_expiry(token).await?,
            None => None,
        };
        let tenant = match (&access, &refresh) {
            (Some(claims), Some(token)) if claims.tid != token.tenant => {
                return Err(AccessError::TenantMismatch.into());
            }
            (Some(claims), _) => claims.tid,
            (None, Some(token)) => token.tenant,
            (None, None) => return Err(TokenError::Invalid.into()),
        };
        Ok(SigningOut { tenant, access, refresh })
    }

    /// Ends a session, or with `everywhere` all sessions of the same user. Repeated calls change
    /// nothing. The refresh tokens are revoked first; if the registry then fails to record the
    /// revocation, the caller gets an error. If the tenant cannot be reached, only the registry
    /// records the end of the session, for the life of its refresh token.
    pub async fn sign_out(
        &self,
        tenant: &Arc<Tenant>,
        leaving: &SigningOut,
        everywhere: bool,
        client: &Client,
    ) -> Result<(), SessionError> {
        // Clerk issues new tokens for its session as long as that session lives.
        let is_issued_by_clerk = leaving.sessions_end_at_clerk(&self.access);
        let (unreachable, ended) =
            match self.end_shown_sessions(tenant, leaving, everywhere, client).await {
                Ok(ended) => (None, ended),
                Err(error) => match &leaving.access {
                    Some(claims) => (Some(error), vec![claims.sid]),
                    None => return Err(error),
                },
            };
        let is_long = is_issued_by_clerk || unreachable.is_some();
        let life = if is_long { self.refresh_life } else { self.access.tokens().life() };
        self.access.revoke_for(leaving.tenant, &ended, life).await?;
        match unreachable {
            Some(error) if everywhere => Err(error),
            Some(error) => {
                tracing::warn!(%error, tenant = %leaving.tenant, "a session was ended without its tenant's database, so that its audit log does not tell of it");
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn end_shown_sessions(
        &self,
        tenant: &Arc<Tenant>,
        leaving: &SigningOut,
        everywhere: bool,
        client: &Client,
    ) -> Result<Vec<Uuid>, SessionError> {
        let now = self.clock.now();
        let db = self.router.connect(tenant).await?;
        // Anyone can invent a refresh token: an unknown one must not wait for the lock or hold it.
        if leaving.access.is_none() {
            let known = match &leaving.refresh {
                Some(token) => sessions::find_by_token(&db, token.hash()).await?,
                None => None,
            };
            if known.is_none() {
                return Ok(Vec::new());
            }
        }
        let transaction = db.begin().await?;
        // The lock orders changes made in these sessions: each is complete before the sign-out, or
        // refused after it.
        rights::lock(&transaction, true).await?;
        let mut theirs: Vec<(Uuid, Uuid)> =
            leaving.access.iter().map(|claims| (claims.sub, claims.sid)).collect();
        if let Some(token) = &leaving.refresh
            && let Some(session) = sessions::find_by_token(&transaction, token.hash()).await?
        {
            theirs.push((session.staff_id, session.id));
        }
        theirs.dedup();
        let mut ended = Vec::new();
        for (staff, session) in theirs {
            ended.push(session);
            let was_open = sessions::revoke(&transaction, session, now).await?;
            // Clerk's sessions have no row in the tenant's database.
            let is_issued_by_clerk = leaving.sessions_end_at_clerk(&self.access);
            if !was_open && (!is_issued_by_clerk || self.access.is_revoked(session)) {
                // An earlier attempt may have failed before the registry recorded it. A session
                // that has ended before ends no other sessions.
                if everywhere {
                    let since = now - self.access.tokens().life();
                    ended.extend(sessions::revoked_since(&transaction, staff, since).await?);
                }
                continue;
            }
            let event = if everywhere {
                let since = now - self.access.tokens().life();
                ended.extend(sessions::revoke_all(&transaction, staff, None, now, since).await?);
                // An attacker who had access may have requested a change of the address.
                one_time_tokens::remove(&transaction, staff, Purpose::EmailChange).await?;
                AuditEvent::on("sessions.ended", "staff", staff)
            } else {
                AuditEvent::on("session.ended", "session", session)
            };
            self.record_sign_out(&transaction, staff, client, event).await?;
        }
        transaction.commit().await?;
        ended.sort_unstable();
        ended.dedup();
        Ok(ended)
    }

    /// Writes the audit log entry. A user who may not call any more gets none, because that user
    /// has no open session.
    async fn record_sign_out(
        &self,
        transaction: &TenantTransaction,
        staff: Uuid,
        client: &Client,
        event: AuditEvent,
    ) -> Result<(), SessionError> {
        let Some(rights) = rights::of_staff(transaction, staff).await? else { return Ok(()) };
        let origin = Origin::of(rights.actor, Some(client));
        let (hasher, now) = (self.registry.hasher(), self.clock.now());
        Ok(audit_log::record(transaction, hasher, &origin, event, now).await?)
    }
}
