//! The other end of a connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::Extensions;
use axum::http::request::Parts;
use ipnet::IpNet;

use crate::http::request_id::RequestId;

/// The other end of a request's connection, and the request's id. Both are one extension of the
/// request, because each extension costs an allocation.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Peer {
    /// The address. An IPv4 client is IPv4 also on an IPv6 listener.
    pub address: IpAddr,
    /// True for one of `http.trusted_proxies`: its headers for host, client and scheme are used.
    pub is_proxy: bool,
    /// The request's id. `None` until the layer around the routes has set it.
    pub request_id: Option<RequestId>,
}

impl Peer {
    const NOBODY: Self =
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), is_proxy: false, request_id: None };

    /// The peer at this socket address.
    pub fn of(address: SocketAddr, proxies: &[IpNet]) -> Self {
        let address = address.ip().to_canonical();
        Self { address, is_proxy: is_proxy(address, proxies), request_id: None }
    }

    /// The peer of a request. Without one, no forwarded header is used.
    pub fn of_request(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().copied().unwrap_or(Self::NOBODY)
    }

    /// Stores the request's id.
    pub fn name(extensions: &mut Extensions, id: RequestId) {
        extensions.get_or_insert(Self::NOBODY).request_id = Some(id);
    }
}

pub(super) fn is_proxy(address: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|network| network.contains(&address))
}
