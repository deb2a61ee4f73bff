//! API keys of service clients: creation and revocation.

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

/// Number of characters of a key that are stored in plain text, so that people can recognize the
/// key in a list.
const HINT: usize = 4;

/// Reason why a key is not created or not revoked.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The key would have this permission, and its creator does not have it.
    #[error("a key would be permitted `{0}`, and its maker is not")]
    PrivilegeEscalation(String),
    /// The caller is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(ApiKeyError);

/// The properties of a new key.
pub struct WantedKey {
    /// Name for display.
    pub name: String,
    /// The permissions of the key. Its creator must have all of them.
    pub permissions: Vec<String>,
    /// Time from which the key is refused. `None`: the key does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Creates and revokes keys of service clients.
#[derive(Clone)]
pub struct ApiKeys {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) clock: Clock,
}

impl ApiKeys {
    /// Creates a key and returns its text, which is shown only once. A creator can grant only
    /// permissions of its own.
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
            // A key that was created with another key has the same creator as that key. It is
            // revoked together with all keys of that member of staff.
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

    /// Revokes a key: at once on this replica, within a second on every other replica. Returns
    /// `None` if there is no key with this id, and `Some(None)` if the key was already revoked. The
    /// revocation is sent to the other replicas in both cases, because an earlier attempt may have
    /// failed half-way; the audit log gets no second entry.
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
