//! The prefix of links: empty, so that links are paths, or the address that the client sees, if the
//! configuration asks for absolute links (`server.absolute_links`).
//!
//! That address comes from `Forwarded`, or from `X-Forwarded-Proto` and `X-Forwarded-Host`, if the connection
//! comes from a configured proxy, and from `Host` otherwise. A header may contain anything, so an invalid
//! scheme or host is ignored.

use std::{convert::Infallible, fmt, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header, request::Parts, uri::Authority},
};
use ipnet::IpNet;

use super::client_address::{forwarded_for, is_trusted, parts};
use super::state::AppState;

/// The prefix of every link in a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicUrl(String);

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromRequestParts<AppState> for PublicUrl {
    type Rejection = Infallible;

    async fn from_request_parts(request: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        Ok(Self::of(request, state))
    }
}

impl PublicUrl {
    /// The prefix for the response to this request.
    pub fn of(request: &Parts, state: &AppState) -> Self {
        let server = &state.config.server;
        if !server.absolute_links {
            return Self::default();
        }
        let peer = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
        Self::seen(peer, &request.headers, &server.trusted_proxies)
    }

    /// The address that the client sees.
    fn seen(peer: Option<SocketAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let believed = peer.is_some_and(|peer| is_trusted(peer.ip(), trusted));
        let (scheme, host) = if believed { recorded(headers, trusted) } else { (None, None) };
        let own = || authority(headers.get(header::HOST)?.to_str().ok()?);
        match host.or_else(own) {
            // TLS ends at a proxy, or there is none.
            Some(host) => Self(format!("{}://{host}", scheme.unwrap_or("http"))),
            None => Self::default(),
        }
    }
}

/// What trusted proxies recorded about the request as the first of them received it.
fn recorded(headers: &HeaderMap, trusted: &[IpNet]) -> (Option<&'static str>, Option<Authority>) {
    if headers.contains_key(header::FORWARDED) {
        let elements: Vec<&str> = parts(headers, header::FORWARDED.as_str()).collect();
        // The nearest proxy appends last. If another trusted proxy sent it the request, that one knows
        // better.
        let mut first = None;
        for element in elements.into_iter().rev() {
            first = Some(element);
            if !forwarded_for(element).is_some_and(|address| is_trusted(address, trusted)) {
                break;
            }
        }
        let pair = |wanted: &str| {
            let mut pairs = first?.split(';').filter_map(|pair| pair.trim().split_once('='));
            let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            Some(value.trim_matches('"'))
        };
        (pair("proto").and_then(scheme), pair("host").and_then(authority))
    } else {
        // Most proxies replace these headers; if one appends, the nearest proxy's value is the last.
        let last = |name| parts(headers, name).last().map(str::trim);
        (last("x-forwarded-proto").and_then(scheme), last("x-forwarded-host").and_then(authority))
    }
}

fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(text))
}

/// A host with or without a port, and nothing that could lead elsewhere.
fn authority(text: &str) -> Option<Authority> {
    text.parse::<Authority>().ok().filter(|authority| !authority.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn seen(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        map.insert("host", HeaderValue::from_static("dreams.internal:8080"));
        for &(name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 4711);
        PublicUrl::seen(Some(peer), &map, &["10.0.0.0/8".parse().unwrap()]).to_string()
    }

    #[test]
    fn proxies_tell_what_the_client_sees() {
        let usual = [("x-forwarded-proto", "https"), ("x-forwarded-host", "dreams.example")];
        assert_eq!(seen("10.0.0.1", &usual), "https://dreams.example");
        assert_eq!(seen("203.0.113.9", &usual), "http://dreams.internal:8080");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-proto", "https")]), "https://dreams.internal:8080");
        assert_eq!(seen("10.0.0.1", &[]), "http://dreams.internal:8080");
        let standard = [("forwarded", "for=192.0.2.1;proto=HTTPS;host=\"dreams.example:8443\"")];
        assert_eq!(seen("10.0.0.1", &standard), "https://dreams.example:8443");
        assert_eq!(seen("203.0.113.9", &standard), "http://dreams.internal:8080");
    }

    #[test]
    fn what_a_client_wrote_itself_is_not_believed() {
        let forged = [(
            "forwarded",
            "for=192.0.2.9;host=evil.example, for=192.0.2.1;proto=https;host=dreams.example, for=10.0.0.7;host=inner",
        )];
        assert_eq!(seen("10.0.0.1", &forged), "https://dreams.example");
        let added = [("x-forwarded-host", "evil.example, dreams.example"), ("x-forwarded-proto", "https")];
        assert_eq!(seen("10.0.0.1", &added), "https://dreams.example");
        for host in ["a@b", "x y", "evil/path", ""] {
            assert_eq!(
                seen("10.0.0.1", &[("x-forwarded-host", host)]),
                "http://dreams.internal:8080",
                "{host}"
            );
        }
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-proto", "javascript")]), "http://dreams.internal:8080");
    }
}
