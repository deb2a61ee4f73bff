//! Signing out. Nobody has to show what they want to end: a token whose time is over says which session it was, and so does
//! a refresh token alone.

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

/// What somebody who wants to be signed out has shown.
pub struct SigningOut {
    /// Of the tenant with this id.
    pub tenant: TenantId,
    access: Option<Arc<Claims>>,
    refresh: Option<OpaqueToken>,
}

impl SigningOut {
    fn sessions_end_at_clerk(&self, access: &Authenticator) -> bool {
        self.access.as_deref().is_some_and(|claims| access.is_clerks(claims))
    }
}

impl Sessions {
    /// Whose session is to end. An access token counts by its signature alone, whatever its age, and a refresh token whether
    /// or not it was used; where both are shown, one of them is enough.
    pub async fn signing_out(
        &self,
        access: Option<&str>,
        refresh: Option<&str>,
    ) -> Result<SigningOut, SessionError> {
        let refresh = refresh.and_then(OpaqueToken::parse);
        let access = match access {
            Some(token) => self.access.claims_at_any_age(token).await?,
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

    /// Ends a session, or all sessions of the same person. Done before, it changes nothing. The refresh tokens die first: should
    /// the registry then not take the revocation, the caller hears of it. While the tenant cannot be reached, the registry alone
    /// remembers the end of the session, and for as long as its refresh token would live.
    pub async fn sign_out(
        &self,
        tenant: &Arc<Tenant>,
        leaving: &SigningOut,
        everywhere: bool,
        client: &Client,
    ) -> Result<(), SessionError> {
        // Clerk goes on making tokens of its session, as long as it lets the session live.
        let is_clerks = leaving.sessions_end_at_clerk(&self.access);
        let (unreachable, ended) =
            match self.end_shown_sessions(tenant, leaving, everywhere, client).await {
                Ok(ended) => (None, ended),
                Err(error) => match &leaving.access {
                    Some(claims) => (Some(error), vec![claims.sid]),
                    None => return Err(error),
                },
            };
        let is_long = is_clerks || unreachable.is_some();
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
        // Anybody can make a refresh token up: an unknown one waits for nobody, and nobody for it.
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
        // What somebody does in one of these sessions is done before, or not at all.
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
            // The sessions of Clerk have no row here.
            let is_clerks = leaving.sessions_end_at_clerk(&self.access);
            if !was_open && (!is_clerks || self.access.is_revoked(session)) {
                // A first attempt may have stopped before the registry knew. But what is over ends no other session.
                if everywhere {
                    let since = now - self.access.tokens().life();
                    ended.extend(sessions::revoked_since(&transaction, staff, since).await?);
                }
                continue;
            }
            let event = if everywhere {
                let since = now - self.access.tokens().life();
                ended.extend(sessions::revoke_all(&transaction, staff, None, now, since).await?);
                // Whoever was in may be waiting to move the account to an address of theirs.
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

    /// Who may not call any more has no sessions that could end.
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
