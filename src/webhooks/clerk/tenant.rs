//! Plans the tenant of an organization.

use crate::identifiers::{Slug, Timezone};
use crate::provisioning::{NewTenant, Planned, Provisioner, WantedSlug};
use crate::registry::inbox::clerk::Organization;
use crate::registry::{RegistryError, RegistryTransaction};

/// Plans the run that creates a tenant, in the transaction that links the tenant to its
/// organization. So neither exists without the other, however often the organization is announced.
/// The tenant has no staff at first; reconciling adds them. A background job starts the run, so
/// that a person who registers does not wait behind a thousand imported organizations.
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

/// The name for people: the organization's name, else its slug, else its id.
fn name_of(organization: &Organization) -> &str {
    organization.name.as_deref().or(organization.slug.as_deref()).unwrap_or(&organization.id)
}

/// A preferred slug only: Clerk's slugs follow other rules, and another tenant may have it.
fn slug_of(organization: &Organization) -> Option<Slug> {
    let texts = [organization.slug.as_deref(), organization.name.as_deref()];
    texts.into_iter().flatten().find_map(Slug::derive)
}
