//! Where a request comes from: the peer of the connection, or who stands behind proxies that are ours.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::FORWARDED;
use http::request::Parts;
use ipnet::IpNet;

use crate::state::HttpState;

/// The other end of the connection, as the listening side saw it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The client's address, as an extractor; `None` only where there is no connection.
///
/// A header names it only when the connection comes from a trusted proxy, and then it is the last address that no trusted
/// proxy has: whatever stands before that, a stranger may have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

impl FromRequestParts<HttpState> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.to_canonical());
        let trusted = &state.settings.trusted_proxies;
        Ok(Self(peer.map(|peer| behind(peer, &parts.headers, trusted))))
    }
}

impl ClientAddress {
    /// The name under which requests are counted. An IPv6 client may use every address of its network.
    pub fn counted(self) -> Option<String> {
        self.0.map(|address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                format!("{}/64", Ipv6Addr::from(network))
            }
        })
    }
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    if !is_trusted(&client) {
        return client;
    }
    for hop in hops(headers).into_iter().rev() {
        let Some(address) = hop else { break };
        client = address;
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// The addresses that proxies have written, first hop first; `None` for what is no address.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let listed = |name: http::HeaderName| {
        let values = headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let plain = listed(http::HeaderName::from_static("x-forwarded-for"));
    if !plain.is_empty() {
        return plain.iter().map(|hop| address(hop.trim())).collect();
    }
    let named = listed(FORWARDED);
    let hops = named.iter().map(|hop| {
        let pairs = hop.split(';').filter_map(|pair| pair.split_once('='));
        let mut own = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
        own.next()
            .and_then(|(_, value)| address(value.trim().trim_matches('"')))
    });
    hops.collect()
}

/// An address as proxies write it: with or without a port, IPv6 in brackets (RFC 7239 §6).
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').split(']').next().unwrap_or(text);
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| bare.parse().ok())
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, forwarded: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in forwarded {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        behind(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let xff = "x-forwarded-for";
        type Header = (&'static str, &'static str);
        let table: [(&str, &[Header], &str); 12] = [
            ("192.0.2.1", &[], "192.0.2.1"),
            ("192.0.2.1", &[(xff, "198.51.100.9")], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[(xff, "198.51.100.9")], "198.51.100.9"),
            // What the client itself sent stands before what our proxy added.
            ("10.0.0.1", &[(xff, "127.0.0.1, 198.51.100.9")], "198.51.100.9"),
            (
                "10.0.0.1",
                &[(xff, "127.0.0.1"), (xff, "198.51.100.9, 10.0.0.2")],
                "198.51.100.9",
            ),
            ("10.0.0.1", &[(xff, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            (
                "10.0.0.1",
                &[(xff, "198.51.100.9, nonsense, 10.0.0.2")],
                "10.0.0.2",
            ),
            ("10.0.0.1", &[(xff, "198.51.100.9:4711")], "198.51.100.9"),
            (
                "fd00::1",
                &[("forwarded", "for=\"[2001:db8::7]:80\";proto=https")],
                "2001:db8::7",
            ),
            (
                "10.0.0.1",
                &[("forwarded", "for=unknown, FOR=198.51.100.9;by=10.0.0.1")],
                "198.51.100.9",
            ),
            (
                "10.0.0.1",
                &[("forwarded", "for=198.51.100.9, for=_hidden")],
                "10.0.0.1",
            ),
        ];
        for (peer, headers, expected) in table {
            assert_eq!(client(peer, headers), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let counted = |text: &str| ClientAddress(address(text)).counted().expect("an address");
        assert_eq!(counted("2001:db8:1:2:aaaa::1"), counted("2001:db8:1:2:bbbb::2"));
        assert_ne!(counted("2001:db8:1:2::1"), counted("2001:db8:1:3::1"));
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
    }

    proptest! {
        #[test]
        fn no_header_breaks_it(value in "[ -~]{0,80}") {
            for name in ["x-forwarded-for", "forwarded"] {
                let found = client("10.0.0.1", &[(name, &value)]);
                prop_assert!(found.parse::<IpAddr>().is_ok());
            }
        }
    }
}
