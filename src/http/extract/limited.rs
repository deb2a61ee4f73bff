//! Routes that need no token: the signature of each says which rate limits of the client's address
//! it uses.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Once;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::client::client_address;
use super::peer::Peer;
use crate::http::Gateway;
use crate::http::limits::Limits;
use crate::http::problem::Problem;

/// What a request is charged as.
pub(in crate::http) trait Charge: Send + Sync + 'static {
    /// Charges the buckets of this address.
    fn take(limits: &Limits, address: IpAddr) -> Result<(), Problem>;
}

/// Any request without a token.
pub(in crate::http) struct Open;

impl Charge for Open {
    fn take(limits: &Limits, address: IpAddr) -> Result<(), Problem> {
        limits.charge_address(address)
    }
}

/// A registration, which has a limit of its own.
pub(in crate::http) struct Registering;

impl Charge for Registering {
    fn take(limits: &Limits, address: IpAddr) -> Result<(), Problem> {
        limits.charge_registration(address)
    }
}

/// A request that has been charged.
pub(in crate::http) struct Limited<C>(PhantomData<C>);

impl<C: Charge> FromRequestParts<Gateway> for Limited<C> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        warn_of_unknown_proxy(parts);
        C::take(&gateway.limits, client_address(parts, &gateway.settings.trusted_proxies))?;
        Ok(Self(PhantomData))
    }
}

/// Clients of an unknown proxy share its address, and with it one bucket.
fn warn_of_unknown_proxy(parts: &Parts) {
    static ONCE: Once = Once::new();
    let peer = Peer::of_request(parts);
    if !peer.is_proxy && parts.headers.contains_key("x-forwarded-for") {
        ONCE.call_once(|| {
            tracing::warn!(
                "{} sends X-Forwarded-For and is not one of http.trusted_proxies: if it is a proxy, all of its \
                 clients count as one, and are turned away together when they call too often",
                peer.address
            );
        });
    }
}
