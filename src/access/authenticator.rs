//! The authenticator: verifies tokens and API keys, reads the rights of callers, and revokes
//! sessions.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::TimeDelta;
use uuid::Uuid;

use super::caller::{Caller, ServiceKey};
use super::clerk::ClerkTokens;
use super::error::{AccessError, TokenError};
use super::operator_tokens::{OperatorClaims, OperatorTokens};
use super::revocations::Revocations;
use super::signing_keys::SigningKeys;
use super::tokens::{Claims, Tokens};
use crate::clock::Clock;
use crate::configuration::Settings;
use crate::identifiers::TenantId;
use crate::lifecycle::Lifecycle;
use crate::registry::people::operators::{Operator, Role, sessions};
use crate::registry::secrets::signing_keys::Audience;
use crate::registry::{Registry, RegistryError};
use crate::tenant_data::api_keys;
use crate::tenant_data::rights::{self, Rights};
use crate::tenant_router::OnTenant;

/// The lowest role that may open impersonation sessions.
const MIN_IMPERSONATOR_ROLE: Role = Role::Support;

/// An operator with a valid token and a live session.
pub struct OperatorCaller {
    /// The claims of the operator's token.
    pub claims: OperatorClaims,
    /// The operator's row, read for this request.
    pub operator: Operator,
}

/// Verifies tokens and API keys, and reads the rights of a caller. Clones share all state.
#[derive(Clone)]
pub struct Authenticator {
    pub(super) registry: Registry,
    tokens: Arc<Tokens>,
    operator_tokens: Arc<OperatorTokens>,
    clerk: Arc<Option<ClerkTokens>>,
    revocations: Revocations,
    pub(super) clock: Clock,
}

impl Authenticator {
    /// Loads the signing keys and the revocations, and reads changes of both until `life` stops.
    /// The very first start creates the first signing key.
    pub async fn open(
        registry: Registry,
        settings: &Settings,
        life: &Lifecycle,
        clock: Clock,
    ) -> Result<Self, AccessError> {
        let keys =
            SigningKeys::load(registry.clone(), Audience::Tenant, life, clock.clone()).await?;
        let operator_keys =
            SigningKeys::load(registry.clone(), Audience::Operator, life, clock.clone());
        let operator_tokens =
            OperatorTokens::new(operator_keys.await?, &settings.auth, clock.clone());
        let revocations = Revocations::load(registry.clone(), life, clock.clone()).await?;
        Ok(Self {
            tokens: Arc::new(Tokens::new(keys, &settings.auth, clock.clone())),
            operator_tokens: Arc::new(operator_tokens),
            clerk: Arc::new(ClerkTokens::new(&settings.clerk, registry.clone(), clock.clone())?),
            revocations,
            registry,
            clock,
        })
    }

    /// Issues and verifies the access tokens of staff.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Issues and verifies the access tokens of operators.
    pub fn operator_tokens(&self) -> &OperatorTokens {
        &self.operator_tokens
    }

    /// Creates a new signing key for each audience (see [`SigningKeys`]) and returns the ids of the
    /// keys: tenants first, operators second.
    pub async fn rotate_keys(&self, at_once: bool) -> Result<[String; 2], RegistryError> {
        let tenants = self.tokens.rotate_keys(at_once).await?;
        Ok([tenants, self.operator_tokens.rotate_keys(at_once).await?])
    }

    /// Identifies the caller from a token or an API key. A token that Narthex did not sign may be a
    /// token of Clerk: each of the two verifiers accepts only its own algorithm and only its own
    /// keys.
    pub async fn authenticate(&self, text: &str) -> Result<Caller, AccessError> {
        if let Some(key) = ServiceKey::read(&self.registry, text) {
            return Ok(Caller::Service(key?));
        }
        let claims = match (self.tokens.verify(text).await, &*self.clerk) {
            (Err(TokenError::Invalid), Some(clerk)) => clerk.verify(text).await?,
            (verified, _) => verified?,
        };
        if self.revocations.is_revoked(claims.sid) {
            return Err(TokenError::Revoked.into());
        }
        Ok(match claims.imp {
            Some(_) => Caller::Operator(claims),
            None => Caller::Staff(claims),
        })
    }

    /// The claims of a staff token, even if the token has expired or was revoked. A sign-out uses
    /// them to find the session that it ends. Returns `None` if the token is invalid, and fails
    /// with [`AccessError::NotStaff`] for other callers.
    pub async fn claims_ignoring_expiry(
        &self,
        token: &str,
    ) -> Result<Option<Arc<Claims>>, AccessError> {
        use AccessError::{NotStaff, Token};
        let claims = match self.authenticate(token).await {
            Ok(Caller::Staff(claims)) => return Ok(Some(claims)),
            Ok(Caller::Service(_) | Caller::Operator(_)) => return Err(NotStaff),
            Err(Token(TokenError::Invalid)) => return Ok(None),
            Err(Token(TokenError::Expired | TokenError::Revoked)) => {
                match (self.tokens.verify_at_any_age(token).await, &*self.clerk) {
                    (Err(TokenError::Invalid), Some(clerk)) => clerk.verify_at_any_age(token).await,
                    (verified, _) => verified.map_err(AccessError::from),
                }
            }
            Err(error) => return Err(error),
        };
        match claims {
            Ok(claims) if claims.imp.is_some() => Err(NotStaff),
            Ok(claims) => Ok(Some(claims)),
            Err(Token(TokenError::Invalid)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// True if the identity provider issued this token.
    pub fn is_issued_by_clerk(&self, claims: &Claims) -> bool {
        self.clerk.as_ref().as_ref().is_some_and(|clerk| clerk.has_issued(claims))
    }

    /// The caller's current rights. Fails with [`TokenError::Invalid`] if the caller no longer has
    /// access. Records the use of an API key.
    pub async fn rights(
        &self,
        db: &impl OnTenant,
        caller: &Caller,
        ip: Option<IpAddr>,
    ) -> Result<Rights, AccessError> {
        let rights = self.read_rights(db, caller).await?;
        if let (Caller::Service(_), Some(id)) = (caller, rights.actor.id) {
            let ip = ip.map(|ip| ip.to_string());
            api_keys::record_use(db, id, ip, self.clock.now()).await?;
        }
        Ok(rights)
    }

    /// As [`Self::rights`], but does not record the use of an API key.
    pub(super) async fn read_rights(
        &self,
        db: &impl OnTenant,
        caller: &Caller,
    ) -> Result<Rights, AccessError> {
        let now = self.clock.now();
        let found = match caller {
            Caller::Staff(claims) => rights::of_staff(db, claims.sub).await?,
            Caller::Service(key) => rights::of_key(db, &key.hash, now).await?,
            Caller::Operator(claims) => match self.role_of_impersonator(claims).await? {
                Some(role) => rights::of_operator(db, claims.sid, role >= Role::Admin, now).await?,
                None => None,
            },
        };
        Ok(found.ok_or(TokenError::Invalid)?)
    }

    /// The role of the operator of an impersonation session. `None` if the operator is signed out
    /// or has lost the right to impersonate.
    async fn role_of_impersonator(&self, claims: &Claims) -> Result<Option<Role>, RegistryError> {
        let Some(session) = claims.imp else { return Ok(None) };
        let db = self.registry.connect().await?;
        let found = sessions::operator_in(&db, session, claims.sub, self.clock.now()).await?;
        Ok(found.map(|found| found.role).filter(|role| *role >= MIN_IMPERSONATOR_ROLE))
    }

    /// True if the caller's session or key was revoked after the rights were read. Reads only
    /// memory, so that every request can call it.
    pub fn has_revoked(&self, rights: &Rights) -> bool {
        rights.actor.id.is_some_and(|id| self.is_revoked(id))
    }

    /// True if this session, key or impersonation session was revoked. Reads only memory.
    pub fn is_revoked(&self, id: Uuid) -> bool {
        self.revocations.is_revoked(id)
    }

    /// Revokes sessions, keys or impersonation sessions of a tenant. The revocation takes effect at
    /// once on this replica, and within a second on the other replicas. It is kept for the life of
    /// an access token.
    pub async fn revoke(&self, tenant: TenantId, ids: &[Uuid]) -> Result<(), RegistryError> {
        self.revoke_for(tenant, ids, self.tokens.life()).await
    }

    /// As [`Self::revoke`], but keeps the revocation for `life`.
    pub async fn revoke_for(
        &self,
        tenant: TenantId,
        ids: &[Uuid],
        life: TimeDelta,
    ) -> Result<(), RegistryError> {
        self.revocations.revoke(tenant, ids, life).await
    }

    /// The claims of an operator's token, if its signature is valid and it has not expired. The
    /// session is not checked.
    pub async fn verify_operator(&self, token: &str) -> Result<OperatorClaims, AccessError> {
        Ok(self.operator_tokens.verify(token).await?)
    }

    /// The operator of a verified token. Fails with [`TokenError::Revoked`] if the session has
    /// ended or the operator may not sign in any more.
    pub async fn authenticate_operator(
        &self,
        claims: OperatorClaims,
    ) -> Result<OperatorCaller, AccessError> {
        let db = self.registry.connect().await?;
        let operator = sessions::operator_in(&db, claims.sid, claims.sub, self.clock.now()).await?;
        let operator = operator.ok_or(TokenError::Revoked)?;
        Ok(OperatorCaller { claims, operator })
    }
}
