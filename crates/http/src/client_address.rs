//! Where a request comes from: the peer of the connection, or who stands behind proxies that are ours.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use http::header::FORWARDED;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::state::HttpState;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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
        Ok(Self::of(parts, state))
    }
}

impl ClientAddress {
    /// Where a request comes from.
    pub(crate) fn of(parts: &Parts, state: &HttpState) -> Self {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.to_canonical());
        let trusted = &state.settings.trusted_proxies;
        Self(peer.map(|peer| behind(peer, &parts.headers, trusted)))
    }

    /// Whom requests are counted for: the address, or the network of IPv6, every address of which its client may use.
    pub fn network(self) -> Option<IpAddr> {
        self.0.map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        })
    }
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    // From the last hop back to the first one that no proxy of ours is; nothing beyond what is no address.
    let client = |hops: Vec<Option<IpAddr>>| {
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            let Some(address) = hop else { break };
            client = address;
            if !is_trusted(&client) {
                break;
            }
        }
        client
    };
    match (plain(headers).map(client), forwarded(headers).map(client)) {
        // A proxy writes one of the two and passes the other on as a stranger sent it: two that disagree tell nothing.
        (Some(plain), Some(forwarded)) if plain != forwarded => peer,
        (Some(client), _) | (None, Some(client)) => client,
        (None, None) => peer,
    }
}

/// The addresses of `X-Forwarded-For`, first hop first; `None` for what is no address.
fn plain(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let hops = elements(headers, &X_FORWARDED_FOR)?;
    Some(hops.iter().map(|hop| address(hop.trim())).collect())
}

/// The same of `Forwarded` (RFC 7239 §4).
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let hops = elements(headers, &FORWARDED)?;
    let hops = hops.iter().map(|hop| {
        let pairs = hop.split(';').filter_map(|pair| pair.split_once('='));
        let mut own = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
        own.next()
            .and_then(|(_, value)| address(value.trim().trim_matches('"')))
    });
    Some(hops.collect())
}

/// What stands between the commas of a header, however many lines it has; `None` without one. Bytes that are no text
/// stand for themselves, so that nobody makes what a proxy added behind them go away.
fn elements(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let lines = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let elements: Vec<String> = lines
        .flat_map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    (!elements.is_empty()).then_some(elements)
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

    type Header = (&'static str, &'static str);

    fn client(peer: &str, forwarded: &[(&'static str, &str)]) -> String {
        let forwarded: Vec<_> = forwarded
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        client_of(peer, &forwarded)
    }

    fn client_of(peer: &str, forwarded: &[(&'static str, &[u8])]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in forwarded {
            headers.append(*name, HeaderValue::from_bytes(value).expect("a value"));
        }
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        behind(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let xff = "x-forwarded-for";
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
    fn a_header_that_the_proxy_does_not_write_gives_nobody_another_address() {
        let (xff, forwarded) = ("x-forwarded-for", "forwarded");
        let named = |header: &'static str, other: &str| {
            client("10.0.0.1", &[(header, "198.51.100.9"), (forwarded, other)])
        };
        assert_eq!(
            named(xff, "for=198.51.100.9"),
            "198.51.100.9",
            "a proxy that writes both"
        );
        assert_eq!(
            named(xff, "for=203.0.113.7"),
            "10.0.0.1",
            "one of them is a stranger's"
        );
        assert_eq!(named(xff, ""), "10.0.0.1");
        // What is no text before the proxy's own entry neither hides that nor makes the other header count.
        let garbled: [(&'static str, &[u8]); 2] =
            [(xff, b"\xff, 198.51.100.9"), (forwarded, b"for=203.0.113.7")];
        assert_eq!(client_of("10.0.0.1", &garbled), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1", &garbled[..1]), "198.51.100.9");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let network = |text: &str| ClientAddress(address(text)).network().expect("an address");
        assert_eq!(network("2001:db8:1:2:aaaa::1"), network("2001:db8:1:2:bbbb::2"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1").to_string(), "192.0.2.1");
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
