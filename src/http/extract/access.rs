//! Caller, tenant, permission: in this order, and the connection only when the handler asks for it.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::cookies;
use super::host::{called_host, only};
use super::permission::Permission;
use crate::authentication::Claims;
use crate::http::Code;
use crate::http::Gateway;
use crate::http::problem::Problem;
use crate::registry::tenants::Tenant;
use crate::tenant_data::roles;
use crate::tenant_router::{RouterError, TenantDb};

/// Somebody whose token is good.
pub struct Caller(pub Arc<Claims>);

impl FromRequestParts<Gateway> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let header =
            only(&parts.headers, AUTHORIZATION.as_str()).map_err(|_| Code::InvalidToken)?;
        let Some(header) = header else {
            let token = cookies::access_token(parts, gateway)?.ok_or(Code::InvalidToken)?;
            return Ok(Self(gateway.authentication.authenticate(&token).await?));
        };
        let token = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Code::InvalidToken)?;
        Ok(Self(gateway.authentication.authenticate(token).await?))
    }
}

/// A caller who is permitted `P` in their own tenant.
pub struct Authorized<P> {
    /// What the token says.
    pub claims: Arc<Claims>,
    /// The tenant that the token names, and the only one this request can reach.
    pub tenant: Arc<Tenant>,
    gateway: Gateway,
    permission: PhantomData<P>,
}

impl<P: Permission> FromRequestParts<Gateway> for Authorized<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let Caller(claims) = Caller::from_request_parts(parts, gateway).await?;
        gateway.limits.charge_tenant(claims.tid, &parts.method)?;
        let tenant =
            gateway.router.directory().tenant(claims.tid).await?.ok_or(RouterError::Unknown)?;
        for named in parts.headers.get_all("x-tenant-id") {
            let named = named.to_str().unwrap_or_default();
            if named != tenant.slug && named.parse() != Ok(tenant.id) {
                return Err(Code::TenantMismatch.into());
            }
        }
        if let Some(host) = called_host(parts, gateway)?
            && !gateway.router.directory().host_agrees(&host, &tenant).await?
        {
            return Err(Code::TenantMismatch.into());
        }
        let access = Self { claims, tenant, gateway: gateway.clone(), permission: PhantomData };
        if let Some(permission) = P::NAME
            && !access.permissions().await?.iter().any(|held| held == permission)
        {
            return Err(Problem::with_detail(
                Code::Forbidden,
                format!("Your role does not permit `{permission}`."),
            ));
        }
        Ok(access)
    }
}

impl<P> Authorized<P> {
    /// A connection to the caller's own tenant. Taken late: after the body has been read and checked.
    pub async fn connect(&self) -> Result<TenantDb, RouterError> {
        self.gateway.router.connect(&self.tenant).await
    }

    /// What the caller is permitted by the role that they have now, not by the one that the token names.
    pub async fn permissions(&self) -> Result<Arc<[String]>, Problem> {
        // A new token is not judged by what is remembered of an older one with another role.
        let key = (self.claims.tid, self.claims.sub, self.claims.role.clone());
        if let Some(known) = self.gateway.permissions.get(&key).await {
            // A remembered permission must not open a tenant that is closed.
            self.gateway.router.admit(&self.tenant)?;
            return Ok(known);
        }
        let db = self.connect().await?;
        let permissions = roles::permissions_of(&db, self.claims.sub).await?;
        let permissions: Arc<[String]> = permissions.ok_or(Code::InvalidToken)?.into();
        self.gateway.permissions.insert(key, permissions.clone()).await;
        Ok(permissions)
    }
}
