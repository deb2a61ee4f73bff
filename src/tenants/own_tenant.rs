//! Changes that a tenant's staff make to their own tenant in the registry: name, time zone, and
//! deletion.

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

/// Reason why a change is refused.
#[derive(Debug, thiserror::Error)]
pub enum OwnTenantError {
    /// The tenant was suspended or closed at the same time.
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

/// Changes a tenant in the registry on behalf of its own staff.
///
/// The registry and the tenant's database cannot commit together. The change in the registry is one
/// transaction with an entry in the registry's log. The tenant's log gets one entry before the
/// change (requested) and one after it (done). After any interruption, every change therefore has a
/// request in the tenant's log, and no entry reports a change that was not made.
#[derive(Clone)]
pub struct OwnTenant {
    access: Authenticator,
    registry: Registry,
    router: TenantRouter,
    credentials: CredentialChecker,
    tenants: Tenants,
}

impl OwnTenant {
    /// Creates the service.
    pub fn new(
        access: Authenticator,
        registry: Registry,
        router: TenantRouter,
        credentials: CredentialChecker,
        tenants: Tenants,
    ) -> Self {
        Self { access, registry, router, credentials, tenants }
    }

    /// Changes the tenant's name or time zone.
    pub async fn edit(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        edit: TenantEdit,
    ) -> Result<Tenant, OwnTenantError> {
        let registry = self.registry.connect().await?;
        let found = tenants::find(&registry, tenant.id).await?;
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

    /// Closes the tenant, after `shown` has proven the identity of the caller again.
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
                // Another request suspended or closed the tenant at the same time.
                false => Err(OwnTenantError::Conflict),
            }
        })
        .await
    }

    /// Makes a change in the registry for an authorized caller. The authorization is checked when
    /// the request is logged, and again in the transaction in which the change is made.
    async fn change<T>(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        [requested, done]: [&'static str; 2],
        detail: Value,
        change: impl AsyncFnOnce(TenantId, &Origin) -> Result<T, OwnTenantError>,
    ) -> Result<T, OwnTenantError> {
        let id = tenant.id;
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
            // The registry's log contains no names of a tenant's staff; the tenant's own log has
            // them.
            let actor = Actor { name: "staff".to_owned(), ..rights.actor.clone() };
            let origin =
                Origin { ip: None, user_agent: None, ..Origin::of(actor, by.client.as_ref()) };
            changed = Some(change(id, &origin).await?);
            Ok::<_, OwnTenantError>(((), event(done)))
        };
        match (self.access.change_by(&db, by, noted).await, changed) {
            // The change is committed, so the caller must not get an error.
            (Err(error), Some(changed)) => {
                tracing::warn!(tenant = %id, %error, "the audit log of a tenant lacks `{done}`");
                Ok(changed)
            }
            (Err(error), None) => Err(error),
            (Ok(()), changed) => changed.ok_or(OwnTenantError::Conflict),
        }
    }
}
