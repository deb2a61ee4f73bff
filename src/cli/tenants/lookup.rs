//! Finds the tenant that a command names, and advises on a tenant in the wrong status.

use secrecy::SecretString;

use crate::app::App;
use crate::cli::{CommandError, other};
use crate::identifiers::{EmailAddress, TenantId};
use crate::provisioning::NewOwner;
use crate::registry::RegistryDb;
use crate::registry::tenants::{self, Status, Tenant};

/// Finds a tenant by id or slug.
pub(in crate::cli) async fn find(db: &RegistryDb, name: &str) -> Result<Tenant, CommandError> {
    let found = match name.parse() {
        Ok(id) => tenants::find(db, TenantId(id)).await?,
        Err(_) => tenants::find_by_slug(db, name).await?,
    };
    found.ok_or_else(|| {
        CommandError::Other(format!(
            "there is no tenant `{name}`; `narthex tenants list` shows all"
        ))
    })
}

/// What to do about a tenant whose status does not allow the command.
pub(super) fn advice(tenant: &Tenant) -> String {
    let slug = &tenant.slug;
    match tenant.status {
        Status::Active => "it is in use; there is nothing to do".to_owned(),
        Status::Pending | Status::Provisioning => {
            format!("it is being made or mended; `narthex runs list --tenant {slug}` shows how far")
        }
        Status::Suspended => format!("`narthex tenants resume {slug}` lets it in again"),
        Status::Failed => format!("`narthex tenants provision {slug}` mends it"),
        Status::Deleted => format!("`narthex tenants restore {slug}` brings it back"),
        Status::Purging | Status::Purged => {
            "its time for being restored was over; it is removed for good".to_owned()
        }
    }
}

/// The owner of a new tenant, with the password hashed.
pub(super) async fn owner(
    app: &App,
    email: EmailAddress,
    (first_name, last_name): (String, String),
    password: Option<SecretString>,
) -> Result<NewOwner, CommandError> {
    let hashed = app.accounts.hasher().hash(password.unwrap_or_default()).await;
    Ok(NewOwner { email, password_hash: hashed.map_err(other)?, first_name, last_name })
}
