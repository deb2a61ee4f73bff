//! The host that a request was sent to, where it may be a tenant's.

use axum::extract::FromRequestParts;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Version};

use super::headers::{Several, only};
use super::peer::Peer;
use crate::http::Code;
use crate::http::Gateway;
use crate::http::problem::Problem;
use crate::identifiers::DomainName;
use crate::tenant_router::HostName;

/// The host of a request that needs no token. `None`: it is no tenant's host.
pub(in crate::http) struct CalledHost(pub Option<HostName<'static>>);

impl FromRequestParts<Gateway> for CalledHost {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        Ok(Self(called_host(parts, gateway)?.map(HostName::into_owned)))
    }
}

/// The host of a request as the client called it. `None`: it is no tenant's host. Without
/// `http.base_domain` no host is read.
pub(super) fn called_host<'a>(
    parts: &'a Parts,
    gateway: &Gateway,
) -> Result<Option<HostName<'a>>, Problem> {
    let Some(base) = &gateway.settings.base_domain else {
        return Ok(None);
    };
    let own = own_host(parts, base)?;
    let host = forwarded_host(parts)?.or(own);
    Ok(host.and_then(|host| HostName::read(host, base)))
}

/// The host of the request's target (`:authority`, or the host of an absolute target), and `Host`.
type Named<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn named_hosts(parts: &Parts) -> Result<Named<'_>, Problem> {
    let header = only(&parts.headers, HOST).map_err(|_| Code::MalformedRequest)?;
    let target = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    Ok((target, header.map(HeaderValue::as_bytes)))
}

/// With an absolute target, HTTP/1 ignores `Host` (RFC 9112, section 3.2.2). HTTP/2 rejects a
/// request whose two hosts differ (RFC 9113, section 8.3.1).
fn own_host<'a>(parts: &'a Parts, base: &DomainName) -> Result<Option<&'a [u8]>, Problem> {
    let (target, header) = named_hosts(parts)?;
    if parts.version >= Version::HTTP_2
        && let (Some(target), Some(header)) = (target, header)
        && HostName::read(target, base) != HostName::read(header, base)
    {
        return Err(Code::MalformedRequest.into());
    }
    Ok(target.or(header))
}

/// The host that the client has called, with the port if there is one.
pub(super) fn called_authority(parts: &Parts) -> Result<Option<&[u8]>, Problem> {
    let (target, header) = named_hosts(parts)?;
    Ok(forwarded_host(parts)?.or(target).or(header))
}

/// `X-Forwarded-Host`, if a trusted proxy has sent it. In a list, the proxy's entry cannot be told
/// from the client's. Such a request is refused, so that it does not reach the wrong tenant.
fn forwarded_host(parts: &Parts) -> Result<Option<&[u8]>, Problem> {
    if !Peer::of_request(parts).is_proxy {
        return Ok(None);
    }
    match only(&parts.headers, "x-forwarded-host").map(|value| value.map(HeaderValue::as_bytes)) {
        Ok(None) => Ok(None),
        Ok(Some(host)) if !host.contains(&b',') => Ok(Some(host)),
        Ok(Some(_)) | Err(Several) => Err(Problem::with_detail(
            Code::TenantMismatch,
            "X-Forwarded-Host names several hosts; the proxy in front must send one.",
        )),
    }
}
