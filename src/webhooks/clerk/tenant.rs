//! From an organization to the tenant that is made of it.

use uuid::Uuid;

use super::settle::Unsettled;
use crate::identifiers::{Slug, TenantId, Timezone};
use crate::provisioning::Provisioner;
use crate::registry::RegistryTransaction;
use crate::registry::clerk::Organization;

/// A tenant that is written down and not begun.
pub(super) struct Planned {
    pub tenant: TenantId,
    pub run: Uuid,
}

/// Writes the making of a tenant down, in the transaction that notes whose tenant it is: neither can be without the
/// other, however often the organization is announced.
pub(super) async fn plan(
    _provisioner: &Provisioner,
    _transaction: &RegistryTransaction,
    organization: &Organization,
) -> Result<Planned, Unsettled> {
    let _ = (name_of(organization), slug_of(organization), Timezone::UTC);
    Err(Unsettled::RunFailed("provisioning_failed".to_owned()))
}

/// Begins what was planned, once it is committed.
pub(super) fn begin(_provisioner: &Provisioner, _planned: Planned) {}

/// For people. An organization without a name is called by its slug, or by its id.
fn name_of(organization: &Organization) -> &str {
    organization.name.as_deref().or(organization.slug.as_deref()).unwrap_or(&organization.id)
}

/// A wish only: Clerk's slugs follow other rules, and another tenant may have it.
fn slug_of(organization: &Organization) -> Option<Slug> {
    let texts = [organization.slug.as_deref(), organization.name.as_deref()];
    texts.into_iter().flatten().find_map(Slug::derive)
}
