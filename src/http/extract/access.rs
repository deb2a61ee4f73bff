//! Caller, tenant, permission: in this order, and the connection only when the handler asks for it.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderName};
use axum::http::request::Parts;
use tokio::sync::OnceCell;

use super::client::{client, client_address};
use super::cookies;
use super::headers::LONGEST_TOKEN;
use super::host::called_host;
use super::permission::Permission;
use crate::access::{Caller, Claims, Client, Principal, TokenError};
use crate::audit::AuditEvent;
use crate::http::Code;
use crate::http::Gateway;
use crate::http::problem::Problem;
use crate::registry::tenants::Tenant;
use crate::tenant_data::rights::Rights;
use crate::tenant_router::{RouterError, TenantDb, TenantTransaction};

const TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");

/// Who shows a token, a key or a cookie.
async fn caller(parts: &Parts, gateway: &Gateway) -> Result<Caller, Problem> {
    if let Some(token) = bearer(&parts.headers)? {
        return Ok(gateway.access.authenticate(token).await?);
    }
    let token = cookies::access_token(parts, gateway)?.ok_or(Code::InvalidToken)?;
    Ok(gateway.access.authenticate(&token).await?)
}

/// The token of the `Authorization` header of that scheme. Other schemes are for the proxies in front.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut tokens = headers.get_all(AUTHORIZATION).iter().filter_map(|header| {
        let bytes = header.as_bytes().trim_ascii();
        let (scheme, token) = bytes.split_at(bytes.iter().position(|b| *b == b' ')?);
        scheme.eq_ignore_ascii_case(b"bearer").then(|| token.trim_ascii())
    });
    match (tokens.next(), tokens.next()) {
        (None, _) => Ok(None),
        (Some(token), None) if token.len() <= LONGEST_TOKEN => {
            let text = std::str::from_utf8(token).map_err(|_| Code::InvalidToken)?;
            Ok(Some(text))
        }
        _ => Err(Code::InvalidToken.into()),
    }
}

/// Fails where the request names another tenant than this one.
pub(super) async fn expect_no_other(
    parts: &Parts,
    gateway: &Gateway,
    tenant: &Tenant,
) -> Result<(), Problem> {
    for named in parts.headers.get_all(TENANT_ID) {
        let named = named.to_str().unwrap_or_default();
        if named != tenant.slug && named.parse() != Ok(tenant.id) {
            return Err(Code::TenantMismatch.into());
        }
    }
    if let Some(host) = called_host(parts, gateway)?
        && !gateway.router.directory().host_agrees(&host, tenant).await?
    {
        return Err(Code::TenantMismatch.into());
    }
    Ok(())
}

/// Somebody in their own tenant.
pub struct Access {
    /// Who.
    pub caller: Caller,
    /// Their tenant, and the only one this request can reach.
    pub tenant: Arc<Tenant>,
    gateway: Gateway,
    /// What they may do, once somebody has asked.
    rights: OnceCell<Arc<Rights>>,
    /// With what client; not read where nothing can be changed.
    client: Option<Client>,
    /// From where; only of programs, of which the last use is kept.
    ip: Option<IpAddr>,
}

impl Access {
    async fn enter(parts: &Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let caller = caller(parts, gateway).await?;
        let id = caller.tenant();
        gateway.limits.charge_tenant(id, &parts.method)?;
        let tenant = gateway.router.directory().tenant(id).await?.ok_or(RouterError::Unknown)?;
        expect_no_other(parts, gateway, &tenant).await?;
        let client = (!parts.method.is_safe()).then(|| client(parts, gateway));
        let ip = matches!(caller, Caller::Service(_))
            .then(|| client_address(parts, &gateway.settings.trusted_proxies));
        Ok(Self { caller, tenant, gateway: gateway.clone(), rights: OnceCell::new(), client, ip })
    }

    /// A connection to the caller's own tenant. Taken late: after the body has been read and checked.
    pub async fn connect(&self) -> Result<TenantDb, RouterError> {
        self.gateway.router.connect(&self.tenant).await
    }

    /// What the caller may do now, by the role that they have now, not by the one that the token names.
    pub async fn rights(&self) -> Result<Arc<Rights>, Problem> {
        self.rights.get_or_try_init(|| self.remembered_rights()).await.cloned()
    }

    async fn remembered_rights(&self) -> Result<Arc<Rights>, Problem> {
        let Some(rights) = self.gateway.rights.get(&self.caller.fingerprint()).await else {
            return self.read_rights().await;
        };
        // A remembered permission must not open a tenant that is closed.
        self.gateway.router.admit(&self.tenant)?;
        self.unless_revoked(rights)
    }

    async fn read_rights(&self) -> Result<Arc<Rights>, Problem> {
        let db = self.connect().await?;
        let rights = self.gateway.access.rights(&db, &self.caller, self.ip).await?;
        let rights = Arc::new(rights);
        self.gateway.rights.insert(self.caller.fingerprint(), rights.clone()).await;
        self.unless_revoked(rights)
    }

    fn unless_revoked(&self, rights: Arc<Rights>) -> Result<Arc<Rights>, Problem> {
        match self.gateway.access.has_revoked(&rights) {
            true => Err(TokenError::Revoked.into()),
            false => Ok(rights),
        }
    }

    /// What is remembered of the caller's rights is so no more.
    pub async fn forget_rights(&self) {
        self.gateway.rights.invalidate(&self.caller.fingerprint()).await;
    }

    fn principal(&self, permission: Option<&'static str>, changes_rights: bool) -> Principal {
        let (caller, client) = (self.caller.clone(), self.client.clone());
        Principal { caller, client, permission, changes_rights }
    }
}

/// A caller who is permitted `P` in their own tenant.
pub struct Authorized<P> {
    access: Access,
    permission: PhantomData<P>,
}

impl<P> std::ops::Deref for Authorized<P> {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl<P: Permission> Authorized<P> {
    /// The caller, as somebody who changes something.
    pub fn principal(&self) -> Principal {
        self.access.principal(Some(P::NAME), P::GIVES_RIGHTS)
    }

    /// Changes something in the caller's tenant, by the rights that they have when it is done, not by those that they had when the
    /// request began: see [`Authenticator::change_by`].
    ///
    /// [`Authenticator::change_by`]: crate::access::Authenticator::change_by
    pub async fn change<T, A, E, F>(&self, change: F) -> Result<T, Problem>
    where
        F: AsyncFnOnce(&TenantTransaction, &Rights) -> Result<(T, A), E>,
        A: Into<Option<AuditEvent>>,
        E: Into<Problem>,
    {
        let (db, by) = (self.connect().await?, self.principal());
        let change = async |transaction: &TenantTransaction, rights: &Rights| {
            change(transaction, rights).await.map_err(Into::<Problem>::into)
        };
        self.judge(self.gateway.access.change_by(&db, &by, change).await).await
    }

    /// What came of a change that asked for the caller's rights again. Where it was refused, what is remembered of them is older than
    /// what was just read.
    pub async fn judge<T, E: Into<Problem>>(&self, changed: Result<T, E>) -> Result<T, Problem> {
        let changed = changed.map_err(Into::into);
        let is_refused = |problem: &Problem| {
            matches!(problem.code(), Code::InvalidToken | Code::TokenRevoked | Code::Forbidden)
        };
        if changed.as_ref().is_err_and(is_refused) {
            self.forget_rights().await;
        }
        changed
    }
}

impl<P: Permission> FromRequestParts<Gateway> for Authorized<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let access = Access::enter(parts, gateway).await?;
        if P::GIVES_RIGHTS {
            access.rights.get_or_try_init(|| access.read_rights()).await?;
        }
        let rights = access.rights().await?;
        gateway.access.require(&rights, P::NAME)?;
        Ok(Self { access, permission: PhantomData })
    }
}

/// A member of staff, for what concerns their own account and needs no permission. Programs and operators have none here.
pub struct Account {
    /// What their token says.
    pub claims: Arc<Claims>,
    access: Access,
}

impl std::ops::Deref for Account {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl Account {
    /// The caller, as somebody who changes something of their own account.
    pub fn principal(&self) -> Principal {
        self.access.principal(None, true)
    }
}

impl FromRequestParts<Gateway> for Account {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let access = Access::enter(parts, gateway).await?;
        match &access.caller {
            Caller::Staff(claims) => Ok(Self { claims: claims.clone(), access }),
            Caller::Service(_) | Caller::Operator(_) => Err(Problem::with_detail(
                Code::Forbidden,
                "This is for members of staff, about their own account.",
            )),
        }
    }
}
