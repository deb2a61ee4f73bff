//! The creation of a tenant: its input and its result.

use uuid::Uuid;

use super::input::{CreateInput, Input, OwnerInput};
use crate::identifiers::{EmailAddress, Slug, TenantId, Timezone, new_id};

/// A request for a tenant.
#[derive(Clone)]
pub struct NewTenant {
    /// The display name of the organization.
    pub organization_name: String,
    /// The name in hosts and URLs.
    pub slug: WantedSlug,
    /// The time zone of the organization.
    pub timezone: Timezone,
    /// The plan that the tenant pays for. If it is `None`, the standard plan.
    pub plan: Option<String>,
    /// True for a self-registered tenant whose email address may belong to another person. Unless
    /// an email to the address is answered, the tenant ends by itself.
    pub unproven: bool,
    /// The first member of its staff. If it is `None`, the staff is added in another way.
    pub owner: Option<NewOwner>,
}

/// How strictly a slug is wanted.
#[derive(Clone, Debug)]
pub enum WantedSlug {
    /// Exactly this slug: if it is taken, the tenant is refused.
    Exactly(Slug),
    /// This slug, or a similar one.
    Like(Slug),
    /// A slug made from the organization's name.
    Derived,
}

/// The first member of a tenant's staff, checked and with the password hashed.
#[derive(Clone)]
pub struct NewOwner {
    /// The email address for signing in.
    pub email: EmailAddress,
    /// A PHC string.
    pub password_hash: String,
    /// The owner's given name.
    pub first_name: String,
    /// The owner's family name.
    pub last_name: String,
}

/// What a completed run has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedTenant {
    /// The id of the tenant.
    pub tenant_id: TenantId,
    /// The id of its owner among its staff. `None` if it was created without one.
    pub owner_id: Option<Uuid>,
}

impl NewOwner {
    pub(super) fn as_input(&self) -> OwnerInput {
        OwnerInput {
            id: new_id(),
            email: self.email.as_str().to_owned(),
            password_hash: self.password_hash.clone(),
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
        }
    }
}

impl NewTenant {
    /// The input of the run, and the id that the owner will have.
    pub(super) fn as_input(&self) -> (Input, Option<Uuid>) {
        let (slug, slug_is_a_wish) = match &self.slug {
            WantedSlug::Exactly(slug) => (Some(slug.as_str().to_owned()), false),
            WantedSlug::Like(slug) => (Some(slug.as_str().to_owned()), true),
            WantedSlug::Derived => (None, true),
        };
        let owner = self.owner.as_ref().map(NewOwner::as_input);
        let owner_id = owner.as_ref().map(|owner| owner.id);
        let input = CreateInput {
            organization_name: self.organization_name.clone(),
            slug,
            slug_is_a_wish,
            timezone: self.timezone.as_str().to_owned(),
            plan: self.plan.clone(),
            unproven: self.unproven,
            owner,
        };
        (Input::Create(input), owner_id)
    }
}
