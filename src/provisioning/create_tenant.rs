//! Making a tenant: what it takes to be asked for, and what comes of it.

use uuid::Uuid;

use super::input::{CreateInput, Input, OwnerInput};
use crate::identifiers::{EmailAddress, Slug, TenantId, Timezone, new_id};

/// A tenant that somebody wants.
#[derive(Clone)]
pub struct NewTenant {
    /// The organization's name for people.
    pub organization_name: String,
    /// In hosts and URLs.
    pub slug: WantedSlug,
    /// Of the organization.
    pub timezone: Timezone,
    /// What they pay for; the usual one where absent.
    pub plan: Option<String>,
    /// Anybody has asked for it with an address that may not be theirs: unless a letter to the address is answered, the
    /// tenant ends by itself.
    pub unproven: bool,
    /// The first member of its staff; somebody else adds the staff where there is none.
    pub owner: Option<NewOwner>,
}

/// How much a slug is wanted.
#[derive(Clone, Debug)]
pub enum WantedSlug {
    /// This one or none: where it is taken, the tenant is refused.
    Exactly(Slug),
    /// This one, or one like it.
    Like(Slug),
    /// One made from the organization's name.
    Derived,
}

/// The first member of a tenant's staff, checked and with the password hashed.
#[derive(Clone)]
pub struct NewOwner {
    /// With which they sign in.
    pub email: EmailAddress,
    /// PHC string.
    pub password_hash: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
}

/// What a completed run has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedTenant {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Its owner among its staff, where it was made with one.
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
    /// What the run is planned with, and the id that the owner will have.
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
