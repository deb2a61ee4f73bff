//! Caller, tenant, permission: in this order. The connection comes only when the handler asks for
//! it.

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

/// The caller by its token, its key or its cookie.
async fn caller(parts: &Parts, gateway: &Gateway) -> Result<Caller, Problem> {
    if let Some(token) = bearer(&parts.headers)? {
        return Ok(gateway.access.authenticate(token).await?);
    }
    let token = cookies::access_token(parts, gateway)?.ok_or(Code::InvalidToken)?;
    Ok(gateway.access.authenticate(&token).await?)
}

/// The `Bearer` token of the `Authorization` header. Other schemes are for the proxies in front.
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

/// Fails if the request names a tenant other than this one.
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

/// A caller in the caller's own tenant.
pub struct Access {
    /// The caller that the token, key or cookie proves.
    pub caller: Caller,
    /// The caller's tenant, and the only one that this request can reach.
    pub tenant: Arc<Tenant>,
    gateway: Gateway,
    /// What the caller may do. It is read at the first use.
    rights: OnceCell<Arc<Rights>>,
    /// The client of the request; `None` where the request can change nothing.
    client: Option<Client>,
    /// The address of the client; only for service clients, whose last use is recorded.
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

    /// A connection to the caller's own tenant. Handlers take it late, after the body has been read
    /// and checked.
    pub async fn connect(&self) -> Result<TenantDb, RouterError> {
        self.gateway.router.connect(&self.tenant).await
    }

    /// What the caller may do now, by the caller's current role. The role in the token does not
    /// count.
    pub async fn rights(&self) -> Result<Arc<Rights>, Problem> {
        self.rights.get_or_try_init(|| self.remembered_rights()).await.cloned()
    }

    async fn remembered_rights(&self) -> Result<Arc<Rights>, Problem> {
        let Some(rights) = self.gateway.rights.get(&self.caller.fingerprint()).await else {
            return self.read_rights().await;
        };
        // A cached permission must not open a tenant that is closed.
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

    /// Removes the caller's rights from the cache.
    pub async fn forget_rights(&self) {
        self.gateway.rights.invalidate(&self.caller.fingerprint()).await;
    }

    fn principal(&self, permission: Option<&'static str>, changes_rights: bool) -> Principal {
        let (caller, client) = (self.caller.clone(), self.client.clone());
        Principal { caller, client, permission, changes_rights }
    }
}

/// A caller who has permission `P` in the caller's own tenant.
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
    /// The caller as the principal of a change.
    pub fn principal(&self) -> Principal {
        self.access.principal(Some(P::NAME), P::GIVES_RIGHTS)
    }

    /// Changes something in the caller's tenant, by the rights that the caller has in the
    /// transaction of the change, not by the rights at the start of the request: see
    /// [`Authenticator::change_by`].
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

    /// Returns the result of a change that read the caller's rights again. After a refusal the
    /// cached rights are older than the rights just read, so they are removed.
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

/// A member of staff who uses their own account, which needs no permission. Service clients and
/// operators have no account here.
pub struct Account {
    /// The claims of the token.
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
    /// The caller as the principal of a change of their own account.
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
