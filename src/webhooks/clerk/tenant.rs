//! From an organization to the tenant that is made of it.

use crate::identifiers::{Slug, Timezone};
use crate::provisioning::{NewTenant, Planned, Provisioner, WantedSlug};
use crate::registry::inbox::clerk::Organization;
use crate::registry::{RegistryError, RegistryTransaction};

/// Writes the making of a tenant down, in the transaction that notes whose tenant it is: neither can be without the
/// other, however often the organization is announced. Nobody is on its staff at first; settling adds them. A job begins
/// with it: a person who registers does not stand in line behind a thousand organizations that are imported.
pub(super) async fn plan(
    provisioner: &Provisioner,
    transaction: &RegistryTransaction,
    organization: &Organization,
) -> Result<Planned, RegistryError> {
    let new = NewTenant {
        organization_name: name_of(organization).to_owned(),
        slug: slug_of(organization).map_or(WantedSlug::Derived, WantedSlug::Like),
        timezone: Timezone::UTC,
        plan: None,
        unproven: false,
        owner: None,
    };
    provisioner.plan(transaction, &new).await
}

/// For people. An organization without a name is called by its slug, or by its id.
fn name_of(organization: &Organization) -> &str {
    organization.name.as_deref().or(organization.slug.as_deref()).unwrap_or(&organization.id)
}

/// A wish only: Clerk's slugs follow other rules, and another tenant may have it.
fn slug_of(organization: &Organization) -> Option<Slug> {
    let texts = [organization.slug.as_deref(), organization.name.as_deref()];
    texts.into_iter().flatten().find_map(Slug::derive)
}
