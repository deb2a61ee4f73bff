//! Which accounts an email address has, in which tenants.

use std::sync::Arc;

use crate::access::AccessError;
use crate::identifiers::{EmailAddress, TenantId};
use crate::registry::Registry;
use crate::registry::tenants::{Status, Tenant, email_index};
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::{HostName, TenantRouter};

/// Finds accounts by address.
#[derive(Clone)]
pub struct AccountLookup {
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
}

impl AccountLookup {
    /// The tenant that a client means: by its slug, or by the host that it calls. Both are the client's own words, so that
    /// nothing is told of who there is.
    pub async fn named_tenant(
        &self,
        slug: Option<String>,
        host: Option<&HostName<'_>>,
    ) -> Result<Option<String>, AccessError> {
        match (slug, self.slug_at(host).await?) {
            (Some(slug), Some(named)) if slug != named => Err(AccessError::TenantMismatch),
            (slug, named) => Ok(named.or(slug)),
        }
    }

    /// The slug that a host stands for. One below our own domain is not looked up: a slug that nobody has finds no
    /// account, in the same time as an address that nobody has.
    async fn slug_at(&self, host: Option<&HostName<'_>>) -> Result<Option<String>, AccessError> {
        let directory = self.router.directory();
        let holder = match host {
            None => None,
            Some(HostName::Slug(slug)) => return Ok(Some(slug.clone().into_owned())),
            Some(domain) => directory.tenant_of_host(domain).await?,
        };
        let Some(holder) = holder else { return Ok(None) };
        Ok(directory.tenant(holder).await?.map(|tenant| tenant.slug.clone()))
    }

    /// The accounts of an address, each read and its connection given back before any password is hashed. A tenant that cannot
    /// be reached has none: to say that it cannot would say that it has, before anybody has proven anything.
    pub async fn accounts(
        &self,
        email: &EmailAddress,
        slug: Option<&str>,
    ) -> Result<Vec<(Arc<Tenant>, StaffMember)>, AccessError> {
        let registry = self.registry.connect().await?;
        let hash = self.registry.hasher().email(email);
        let tenants = match slug {
            Some(slug) => {
                email_index::tenant_of(&registry, &hash, slug).await?.into_iter().collect()
            }
            None => email_index::tenants_of(&registry, &hash).await?,
        };
        drop(registry);
        let mut accounts = Vec::new();
        for id in tenants {
            match self.account(id, email, slug).await {
                Ok(account) => accounts.extend(account),
                Err(error) => {
                    tracing::warn!(tenant = %id, %error, "an account cannot be looked up; it is treated as if it were not there");
                }
            }
        }
        Ok(accounts)
    }

    async fn account(
        &self,
        tenant: TenantId,
        email: &EmailAddress,
        slug: Option<&str>,
    ) -> Result<Option<(Arc<Tenant>, StaffMember)>, AccessError> {
        let tenant = self.router.directory().tenant(tenant).await?;
        let is_wanted = |tenant: &Arc<Tenant>| {
            tenant.status == Status::Active && slug.is_none_or(|slug| slug == tenant.slug)
        };
        let Some(tenant) = tenant.filter(is_wanted) else { return Ok(None) };
        let db = self.router.connect(&tenant).await?;
        let user = staff::find_active_by_email(&db, email).await?;
        Ok(user.map(|user| (tenant, user)))
    }
}
