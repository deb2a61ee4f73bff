//! The other end of a connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::Extensions;
use axum::http::request::Parts;
use ipnet::IpNet;

use crate::http::request_id::RequestId;

/// The other end of a request's connection, and the request's id: one extension of the request, because each costs an
/// allocation.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Peer {
    /// IPv4 as IPv4, also where the listener is one of IPv6.
    pub address: IpAddr,
    /// One of `http.trusted_proxies`: what it says of host, client and scheme is believed.
    pub is_proxy: bool,
    /// Of this request; there is none before the layer around the routes has it.
    pub request_id: Option<RequestId>,
}

impl Peer {
    const NOBODY: Self =
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), is_proxy: false, request_id: None };

    /// The peer of a connection.
    pub fn of(address: SocketAddr, proxies: &[IpNet]) -> Self {
        let address = address.ip().to_canonical();
        Self { address, is_proxy: is_proxy(address, proxies), request_id: None }
    }

    /// That of a request. Without one nobody is believed.
    pub fn of_request(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().copied().unwrap_or(Self::NOBODY)
    }

    /// Gives the request its id.
    pub fn name(extensions: &mut Extensions, id: RequestId) {
        extensions.get_or_insert(Self::NOBODY).request_id = Some(id);
    }
}

pub(super) fn is_proxy(address: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|network| network.contains(&address))
}
