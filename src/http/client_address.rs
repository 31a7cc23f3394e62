//! The address of the client behind proxies.
//!
//! A client can write anything into `Forwarded` and `X-Forwarded-For`. The server reads them only if the
//! connection comes from a configured proxy, and only up to the first address that is not such a proxy. No
//! crate walks a list of trusted networks like that: see `docs/decisions.md`.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use ipnet::IpNet;

use super::state::AppState;

/// The de facto standard header, which most proxies send.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Address of the client, as far as it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Middleware: stores the [`ClientAddress`] for later use, such as logging.
pub async fn identify(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let client = client(peer.ip(), request.headers(), &state.config.server.trusted_proxies);
        request.extensions_mut().insert(client);
    }
    next.run(request).await
}

/// Walks from the peer towards the client while the hops are trusted proxies.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> ClientAddress {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return ClientAddress(client);
    }
    // The nearest proxy appends last.
    for hop in hops(headers).into_iter().rev() {
        let Some(address) = hop else { break };
        client = address.to_canonical();
        if !is_trusted(client, trusted) {
            break;
        }
    }
    ClientAddress(client)
}

/// Whether this address is a trusted proxy.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The addresses that proxies recorded, the client's first; `None` for one that is hidden or unreadable.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    if headers.contains_key(header::FORWARDED) {
        parts(headers, header::FORWARDED.as_str()).map(forwarded_for).collect()
    } else {
        parts(headers, X_FORWARDED_FOR).map(address).collect()
    }
}

/// The members of a list header, joined over all its lines.
fn parts<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    lines.flat_map(|line| line.split(','))
}

/// The `for` parameter of one `Forwarded` element (RFC 7239, section 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(node)
}

/// Parses an address as proxies write it: bare, with a port, in brackets, in quotes.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare.ok().or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn found(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut map = HeaderMap::new();
        for &(name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        client(peer.parse().unwrap(), &map, &trusted).0.to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let forged = [("x-forwarded-for", "192.0.2.1")];
        assert_eq!(found("203.0.113.9", &forged), "203.0.113.9");
        assert_eq!(found("10.0.0.1", &forged), "192.0.2.1");
        assert_eq!(found("10.0.0.1", &[]), "10.0.0.1");
        // The same proxy, seen through a dual-stack socket.
        assert_eq!(found("::ffff:10.0.0.1", &forged), "192.0.2.1");
        // Entries of the client itself stand left of what the proxy recorded.
        assert_eq!(found("10.0.0.1", &[("x-forwarded-for", "127.0.0.1, 192.0.2.1, 10.0.0.7")]), "192.0.2.1");
        assert_eq!(
            found("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1:4711")]),
            "192.0.2.1"
        );
        assert_eq!(found("10.0.0.1", &[("x-forwarded-for", "who knows")]), "10.0.0.1");
    }

    #[test]
    fn the_standard_header_wins() {
        let both =
            [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=198.51.100.4;proto=https;by=10.0.0.1")];
        assert_eq!(found("10.0.0.1", &both), "198.51.100.4");
        assert_eq!(
            found("fd00::1", &[("forwarded", "For=\"[2001:db8::17]:4711\", for=10.0.0.7")]),
            "2001:db8::17"
        );
        assert_eq!(found("fd00::1", &[("forwarded", "for=\"[2001:db8::17]\"")]), "2001:db8::17");
        assert_eq!(found("10.0.0.1", &[("forwarded", "for=192.0.2.1, for=_hidden")]), "10.0.0.1");
    }
}
