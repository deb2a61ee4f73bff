//! What the staff of a tenant do to it in the registry: another name, and its end.
//!
//! The registry and the tenant's database do not commit at once. The registry's part is in one transaction with an entry in its
//! own log. The tenant's log says before that it is wanted, and after that it was done: whatever is cut off, nothing is done that
//! nobody is known to have wanted, and nothing is said to be done that is not.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::edit::{EditError, Tenants};
use super::lifecycle::StatusChange;
use crate::access::{AccessError, Authenticator, Client, Principal, from_access_causes};
use crate::accounts::{CredentialChecker, CredentialError, SecondFactor};
use crate::audit::{Actor, AuditEvent, Origin};
use crate::identifiers::{TenantId, Timezone};
use crate::registry::Registry;
use crate::registry::tenants::{self, Tenant, TenantEdit};
use crate::tenant_data::rights::Rights;
use crate::tenant_router::{RouterError, TenantRouter, TenantTransaction};

/// Why the staff do not get what they want.
#[derive(Debug, thiserror::Error)]
pub enum OwnTenantError {
    /// The tenant was suspended or closed in this very moment.
    #[error("the tenant is suspended or closed already")]
    Conflict,
    /// The proof of identity is refused.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The caller is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(OwnTenantError);

impl From<EditError> for OwnTenantError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::NotFound => RouterError::Unknown.into(),
            EditError::Registry(error) => error.into(),
        }
    }
}

/// Changes a tenant in the registry for its own staff.
#[derive(Clone)]
pub struct OwnTenant {
    access: Authenticator,
    registry: Registry,
    router: TenantRouter,
    credentials: CredentialChecker,
    tenants: Tenants,
}

impl OwnTenant {
    /// On these parts.
    pub fn new(
        access: Authenticator,
        registry: Registry,
        router: TenantRouter,
        credentials: CredentialChecker,
        tenants: Tenants,
    ) -> Self {
        Self { access, registry, router, credentials, tenants }
    }

    /// Changes what the tenant is called.
    pub async fn edit(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        edit: TenantEdit,
    ) -> Result<Tenant, OwnTenantError> {
        let registry = self.registry.connect().await?;
        let found = tenants::find(&registry, TenantId(tenant.id)).await?;
        let found = found.ok_or(RouterError::Unknown)?;
        drop(registry);
        if edit.is_done(&found) {
            let db = self.router.connect(tenant).await?;
            let judged = async |_: &TenantTransaction, _: &Rights| {
                Ok::<_, OwnTenantError>(((), None::<AuditEvent>))
            };
            self.access.change_by(&db, by, judged).await?;
            return Ok(found);
        }
        let zone = edit.timezone.as_ref().map(Timezone::as_str);
        let detail = json!({"organization_name": edit.organization_name, "timezone": zone});
        let entries = ["tenant.change_requested", "tenant.changed"];
        self.change(tenant, by, entries, detail, async |id, origin| {
            Ok(self.tenants.edit(id, edit, origin).await?)
        })
        .await
    }

    /// Closes the tenant, for a caller who proves their identity once more.
    pub async fn close(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        account: &Principal,
        shown: (SecretString, Option<SecondFactor>),
        client: &Client,
    ) -> Result<(), OwnTenantError> {
        self.credentials.prove(tenant, account, shown, client).await?;
        let entries = ["tenant.closing_requested", "tenant.closed"];
        self.change(tenant, by, entries, json!({}), async |id, origin| {
            match self.tenants.change_status(id, StatusChange::Delete, origin).await? {
                true => Ok(()),
                // Suspended in this very moment, or closed by somebody else.
                false => Err(OwnTenantError::Conflict),
            }
        })
        .await
    }

    /// Does something to the tenant in the registry, for a caller who may do so when it is done.
    async fn change<T>(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        [requested, done]: [&'static str; 2],
        detail: Value,
        change: impl AsyncFnOnce(TenantId, &Origin) -> Result<T, OwnTenantError>,
    ) -> Result<T, OwnTenantError> {
        let id = TenantId(tenant.id);
        let event = |action| AuditEvent::on(action, "tenant", id).with(detail.clone());
        let db = self.router.connect(tenant).await?;
        let asked = async |_: &TenantTransaction, _: &Rights| {
            Ok::<_, OwnTenantError>(((), event(requested)))
        };
        self.access.change_by(&db, by, asked).await?;
        drop(db);
        let mut changed = None;
        let db = self.router.connect(tenant).await?;
        let noted = async |_: &TenantTransaction, rights: &Rights| {
            // In the registry nobody of a tenant is named: their own log has it all.
            let actor = Actor { name: "staff".to_owned(), ..rights.actor.clone() };
            let origin =
                Origin { ip: None, user_agent: None, ..Origin::of(actor, by.client.as_ref()) };
            changed = Some(change(id, &origin).await?);
            Ok::<_, OwnTenantError>(((), event(done)))
        };
        match (self.access.change_by(&db, by, noted).await, changed) {
            // It is done, and the caller must not be told that it is not.
            (Err(error), Some(changed)) => {
                tracing::warn!(tenant = %id, %error, "the audit log of a tenant lacks `{done}`");
                Ok(changed)
            }
            (Err(error), None) => Err(error),
            (Ok(()), changed) => changed.ok_or(OwnTenantError::Conflict),
        }
    }
}
