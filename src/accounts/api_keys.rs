//! Keys of tenants' programs: made, and taken back on every replica.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::access::{AccessError, Authenticator, ServiceKey, from_access_causes};
use crate::audit::{ActorKind, AuditEvent};
use crate::clock::Clock;
use crate::identifiers::{TenantId, new_id};
use crate::registry::Registry;
use crate::tenant_data::api_keys::{self, ApiKey};
use crate::tenant_data::rights::{self, Rights};
use crate::tenant_router::TenantTransaction;

/// So many characters of a key are kept in clear, by which people tell theirs apart.
const HINT: usize = 4;

/// Why a key is not made or not revoked.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The key would have a permission that its maker lacks.
    #[error("a key would be permitted `{0}`, and its maker is not")]
    PrivilegeEscalation(String),
    /// The caller is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(ApiKeyError);

/// What a key is to be.
pub struct WantedKey {
    /// For people.
    pub name: String,
    /// Of those that its maker has.
    pub permissions: Vec<String>,
    /// From then on it is good no more.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Makes and revokes keys of service clients.
#[derive(Clone)]
pub struct ApiKeys {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) clock: Clock,
}

impl ApiKeys {
    /// Makes a key. Its text is returned this once. Nobody gives what they have not.
    pub async fn make(
        &self,
        transaction: &TenantTransaction,
        tenant: TenantId,
        wanted: WantedKey,
        (by, staff): (&Rights, Option<Uuid>),
    ) -> Result<((ApiKey, String), AuditEvent), ApiKeyError> {
        if let Some(beyond) = wanted.permissions.iter().find(|name| !by.permissions.contains(name))
        {
            return Err(ApiKeyError::PrivilegeEscalation(beyond.clone()));
        }
        if rights::grants_rights(&wanted.permissions) && !by.has_stepped_up {
            return Err(AccessError::StepUpRequired.into());
        }
        let created_by = match by.actor.kind {
            // What is made with a key ends with what its maker has made.
            ActorKind::ApiKey => api_keys::made_by(transaction, by.actor.id).await?,
            _ => staff,
        };
        let (key, text) = ServiceKey::generate(&self.registry, tenant)?;
        let new = ApiKey {
            id: new_id(),
            name: wanted.name,
            key_hash: key.hash.to_vec(),
            hint: text[text.len() - HINT..].to_owned(),
            permissions: wanted.permissions,
            created_by,
            created_at: self.clock.now(),
            expires_at: wanted.expires_at,
            revoked_at: None,
            last_used_at: None,
            last_used_ip: None,
        };
        let key = api_keys::add(transaction, new).await?;
        let event = AuditEvent::on("api_key.created", "api_key", key.id);
        let event = event.with(json!({"name": key.name, "permissions": key.permissions}));
        Ok(((key, text), event))
    }

    /// A key is good no more: here at once, on every replica within a second. `None`: there is none with this id. Of one that was
    /// taken back before the other replicas hear again, because a first attempt may have stopped half-way; but that is no act.
    pub async fn revoke(
        &self,
        transaction: &TenantTransaction,
        tenant: TenantId,
        id: Uuid,
    ) -> Result<Option<Option<AuditEvent>>, ApiKeyError> {
        let revoked = api_keys::revoke(transaction, id, self.clock.now()).await?;
        let Some((key, was_good)) = revoked else { return Ok(None) };
        self.access.revoke(tenant, &[id]).await?;
        let event =
            AuditEvent::on("api_key.revoked", "api_key", id).with(json!({"name": key.name}));
        Ok(Some(was_good.then_some(event)))
    }
}
