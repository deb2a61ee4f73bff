//! The client of a request: its address behind the proxies in front, and its user agent.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use ipnet::IpNet;

use super::peer::{Peer, is_proxy};
use crate::access::Client;
use crate::http::Gateway;
use crate::plain_text::is_control;

/// Characters of the user agent that are kept.
const LONGEST_USER_AGENT: usize = 300;

/// The client of a request, as audit log and sessions record it.
pub(in crate::http) struct CalledBy(pub Client);

impl FromRequestParts<Gateway> for CalledBy {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Infallible> {
        Ok(Self(client(parts, gateway)))
    }
}

pub(super) fn client(parts: &Parts, gateway: &Gateway) -> Client {
    let user_agent = parts.headers.get(USER_AGENT).map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.chars().filter(|c| !is_control(*c)).take(LONGEST_USER_AGENT).collect()
    });
    let id = Peer::of_request(parts).request_id;
    Client {
        ip: client_address(parts, &gateway.settings.trusted_proxies),
        user_agent,
        request_id: id.map(|id| id.as_str().to_owned()),
    }
}

/// The client's address: in `X-Forwarded-For`, read from the right, the first address that is no
/// trusted proxy. The client itself can have written the entries to the left of it.
pub(super) fn client_address(parts: &Parts, proxies: &[IpNet]) -> IpAddr {
    let Peer { mut address, is_proxy: mut is_believed, .. } = Peer::of_request(parts);
    let lines: Vec<_> = parts.headers.get_all("x-forwarded-for").iter().collect();
    let entries = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries {
        let Some(named) = std::str::from_utf8(entry).ok().and_then(|text| read(text.trim())) else {
            break;
        };
        if !is_believed {
            break;
        }
        address = named;
        is_believed = is_proxy(named, proxies);
    }
    address
}

/// The address whose rate limits a request uses. `None` for a trusted proxy, because it sends the
/// requests of many clients.
pub(super) fn counted_address(parts: &Parts, proxies: &[IpNet]) -> Option<IpAddr> {
    let address = client_address(parts, proxies);
    (!is_proxy(address, proxies)).then_some(address)
}

/// Parses an address. Some proxies add the port.
fn read(text: &str) -> Option<IpAddr> {
    let plain = text.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let address = plain.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// Whether the client speaks TLS to the first hop. The public URL says so. Without a public URL the
/// answer is no only where that is certain: a trusted proxy says `http` and nothing else, or the
/// client is a program of this machine. In an unclear case a cookie must keep its `Secure`.
pub(in crate::http) fn is_https(parts: &Parts, gateway: &Gateway) -> bool {
    match &gateway.settings.public_url {
        Some(url) => url.is_https(),
        None => !is_plain(parts),
    }
}

fn is_plain(parts: &Parts) -> bool {
    let peer = Peer::of_request(parts);
    let lines = parts.headers.get_all("x-forwarded-proto").iter();
    // Each of several proxies may have added its own value. The client has spoken to the first.
    let mut hops = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).peekable();
    let may_be = if peer.is_proxy { hops.peek().is_some() } else { peer.address.is_loopback() };
    may_be && hops.all(|hop| hop.trim_ascii().eq_ignore_ascii_case(b"http"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use rstest::rstest;

    const PROXIES: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

    fn proxies() -> Vec<IpNet> {
        PROXIES.iter().map(|network| network.parse().unwrap()).collect()
    }

    #[rstest]
    #[case("10.1.2.3:9", true)]
    #[case("[::ffff:10.1.2.3]:9", true)]
    #[case("[fd00::7]:9", true)]
    #[case("11.0.0.1:9", false)]
    #[case("[::1]:9", false)]
    fn a_proxy_is_known_by_its_network(#[case] peer: SocketAddr, #[case] trusted: bool) {
        assert_eq!(Peer::of(peer, &proxies()).is_proxy, trusted);
    }

    #[rstest]
    #[case::no_proxy("192.0.2.1:9", &["203.0.113.9"], "192.0.2.1")]
    #[case::one("10.0.0.1:9", &["203.0.113.9"], "203.0.113.9")]
    #[case::none_said("10.0.0.1:9", &[], "10.0.0.1")]
    #[case::two_of_ours("10.0.0.1:9", &["203.0.113.9, 10.0.0.2"], "203.0.113.9")]
    #[case::in_two_lines("10.0.0.1:9", &["203.0.113.9", "10.0.0.2"], "203.0.113.9")]
    #[case::the_client_lies("10.0.0.1:9", &["127.0.0.1, 203.0.113.9"], "203.0.113.9")]
    #[case::only_ours("10.0.0.1:9", &["10.0.0.3, 10.0.0.2"], "10.0.0.3")]
    #[case::nonsense("10.0.0.1:9", &["203.0.113.9, unknown"], "10.0.0.1")]
    #[case::nonsense_before("10.0.0.1:9", &["_hidden, 203.0.113.9"], "203.0.113.9")]
    #[case::with_a_port("10.0.0.1:9", &["203.0.113.9:4711"], "203.0.113.9")]
    #[case::ipv6("[fd00::1]:9", &["2001:db8::1"], "2001:db8::1")]
    #[case::ipv6_with_a_port("[fd00::1]:9", &["[2001:db8::1]:9"], "2001:db8::1")]
    #[case::mapped("10.0.0.1:9", &["::ffff:203.0.113.9"], "203.0.113.9")]
    fn the_client_is_whoever_the_proxies_have_seen(
        #[case] peer: SocketAddr,
        #[case] forwarded: &[&str],
        #[case] client: IpAddr,
    ) {
        let mut request = Request::builder().extension(Peer::of(peer, &proxies()));
        for line in forwarded {
            request = request.header("x-forwarded-for", *line);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(client_address(&parts, &proxies()), client);
    }
}
