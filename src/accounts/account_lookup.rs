//! Lookup of the accounts of an email address in all tenants.

use std::sync::Arc;

use crate::access::AccessError;
use crate::identifiers::{EmailAddress, TenantId};
use crate::registry::Registry;
use crate::registry::tenants::{Status, Tenant, email_index};
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::{HostName, TenantRouter};

/// Finds the accounts of an email address.
#[derive(Clone)]
pub struct AccountLookup {
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
}

impl AccountLookup {
    /// The slug of the tenant that a request names, in its body or by its host. Both come from the
    /// client, so the comparison reveals nothing about existing tenants.
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

    /// The slug of the tenant that a host belongs to. A host below the installation's domain is not
    /// looked up: an unknown slug finds no account and takes the same time as an unknown address.
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

    /// The accounts of an address. Each account's connection is returned to its pool before a
    /// password is hashed. A tenant that cannot be reached counts as a tenant without the account:
    /// an error would reveal the account before the caller has proven anything.
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
