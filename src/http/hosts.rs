//! Checks the host and the origin of requests, to keep foreign web pages away from a server on this machine
//! or in a private network.
//!
//! A page can point its own name to an address in the visitor's network (DNS rebinding) and then read
//! responses. Such requests carry the page's name in `Host`, which is not one of ours. A page can also post a
//! form to any address. Such requests say so in `Sec-Fetch-Site`, or at least carry an `Origin` that differs
//! from the host. Browsers send both headers; other clients send neither and are let through. The rules are
//! those of Go's `CrossOriginProtection`.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, Uri, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ipnet::IpNet;

use super::{client_address::is_trusted, error::ApiError};
use crate::config::ServerConfig;

/// The allowed hosts and origins, derived from the configuration once.
#[derive(Clone, Debug)]
pub struct Gate {
    hosts: Hosts,
    /// The host of `server.public_url`, in lower case: always one of ours.
    public: Option<String>,
    origins: Vec<String>,
    trusted_proxies: Vec<IpNet>,
}

/// The host names that the server accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    Any,
    /// Those of this machine; trusted proxies may use any.
    Loopback,
    /// These, in lower case.
    Named(Vec<String>),
}

impl Gate {
    /// For a listener at `address`.
    pub fn new(server: &ServerConfig, address: &str) -> Self {
        let named = &server.allowed_hosts;
        let hosts = if named.iter().any(|host| host == "*") {
            Hosts::Any
        } else if !named.is_empty() {
            Hosts::Named(named.iter().map(|host| host.to_ascii_lowercase()).collect())
        } else if is_loopback_address(address) {
            Hosts::Loopback
        } else {
            Hosts::Any
        };
        let public = &server.public_url;
        Self {
            hosts,
            public: public.host().map(str::to_ascii_lowercase),
            // Pages of our own come from there, whatever host a proxy passes on.
            origins: server
                .cors_origins
                .iter()
                .map(String::as_str)
                .chain(public.origin())
                .map(str::to_owned)
                .collect(),
            trusted_proxies: server.trusted_proxies.clone(),
        }
    }

    /// Checks the host and the origin of a request.
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let host = host(request)?;
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        if let Some(host) = &host
            && !self.answers_to(host, peer)
        {
            return Err(ApiError::WrongHost(host.to_string()));
        }
        let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if safe || self.is_allowed_origin(request.headers(), host.as_ref()) {
            Ok(())
        } else {
            Err(ApiError::CrossOrigin)
        }
    }

    fn answers_to(&self, host: &Authority, peer: Option<IpAddr>) -> bool {
        if self.public.as_ref().is_some_and(|public| host.host().eq_ignore_ascii_case(public)) {
            return true;
        }
        match &self.hosts {
            Hosts::Any => true,
            Hosts::Loopback => {
                is_loopback(host.host()) || peer.is_some_and(|peer| is_trusted(peer, &self.trusted_proxies))
            }
            Hosts::Named(names) => {
                let name = host.host().to_ascii_lowercase();
                // Probes from the machine itself need no configured name.
                names.contains(&name) || is_loopback(&name)
            }
        }
    }

    /// Whether a change comes from no page, from a page of our own, or from an allowed origin.
    fn is_allowed_origin(&self, headers: &HeaderMap, host: Option<&Authority>) -> bool {
        let text =
            |name| headers.get(name).map(|value: &axum::http::HeaderValue| value.to_str().unwrap_or("?"));
        let origin = text("origin");
        let allowed =
            || origin.is_some_and(|origin| self.origins.iter().any(|known| known == "*" || known == origin));
        match (text("sec-fetch-site"), origin) {
            (Some("same-origin" | "none"), _) => true,
            (Some(_), _) => allowed(),
            (None, None) => true,
            (None, Some(origin)) => is_at(origin, host) || allowed(),
        }
    }
}

/// Middleware: refuses a request for another host, or from a foreign page.
pub async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// The host that the request names (RFC 9112, section 3.2); `None` for HTTP/1.0, where it is optional.
fn host(request: &Request) -> Result<Option<Authority>, ApiError> {
    let mut values = request.headers().get_all(header::HOST).iter();
    let (value, another) = (values.next(), values.next());
    if another.is_some() {
        return Err(ApiError::BadHost("the Host header was sent more than once"));
    }
    // An absolute-form target overrides the header.
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.clone()));
    }
    let Some(value) = value else {
        let optional = request.version() < Version::HTTP_11;
        return if optional { Ok(None) } else { Err(ApiError::BadHost("the Host header is missing")) };
    };
    let authority = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    let plain =
        authority.filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    plain.map(Some).ok_or(ApiError::BadHost("the Host header is not a host name"))
}

/// Whether an origin equals the request's host. The scheme is not compared: TLS may end at a proxy.
fn is_at(origin: &str, host: Option<&Authority>) -> bool {
    let authority = origin.parse::<Uri>().ok().and_then(|origin| origin.authority().cloned());
    authority.as_ref() == host && host.is_some()
}

/// Whether a listener at this address is reached from this machine only.
pub fn is_loopback_address(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, _)| is_loopback(host))
}

/// Whether a name means only this machine; IPv6 addresses with or without brackets.
fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => bare.eq_ignore_ascii_case("localhost") || bare.to_ascii_lowercase().ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn gate(address: &str, hosts: &[&str]) -> Gate {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let server = ServerConfig {
            allowed_hosts: owned(hosts),
            cors_origins: owned(&["https://friend.example"]),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..ServerConfig::default()
        };
        Gate::new(&server, address)
    }

    fn ask(gate: &Gate, method: &str, headers: &[(&str, &str)]) -> Result<(), ApiError> {
        let mut request = Request::builder().method(method).uri("/v1/jobs");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        gate.check(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn hosts_are_known_or_refused() {
        let local = gate("127.0.0.1:8080", &[]);
        for host in ["localhost:8080", "127.0.0.1", "[::1]:80", "127.8.9.1", "reverie.localhost"] {
            assert!(ask(&local, "GET", &[("host", host)]).is_ok(), "{host}");
        }
        for host in ["evil.example", "10.0.0.1", "localhost.evil.example", "[::2]"] {
            let refused = ask(&local, "GET", &[("host", host)]);
            assert!(matches!(refused, Err(ApiError::WrongHost(_))), "{host}: {refused:?}");
        }
        let named = gate("0.0.0.0:8080", &["Dreams.example"]);
        assert!(ask(&named, "GET", &[("host", "dreams.EXAMPLE:443")]).is_ok());
        assert!(ask(&named, "GET", &[("host", "other.example")]).is_err());
        for open in [gate("0.0.0.0:8080", &[]), gate("127.0.0.1:8080", &["*"])] {
            assert!(ask(&open, "GET", &[("host", "anything.example")]).is_ok());
        }
        for bad in [
            &[][..],
            &[("host", "a"), ("host", "a")],
            &[("host", "a b")],
            &[("host", "")],
            &[("host", "u@a")],
        ] {
            let refused = ask(&gate("0.0.0.0:8080", &[]), "GET", bad);
            assert!(matches!(refused, Err(ApiError::BadHost(_))), "{bad:?}: {refused:?}");
        }
    }

    #[test]
    fn the_public_url_is_one_of_ours() {
        for hosts in [&[][..], &["other.example"]] {
            let gate = Gate::new(
                &ServerConfig {
                    allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
                    public_url: "https://Dreams.example/reverie".parse().unwrap(),
                    ..ServerConfig::default()
                },
                "127.0.0.1:8080",
            );
            assert!(ask(&gate, "GET", &[("host", "dreams.example")]).is_ok(), "{hosts:?}");
            assert!(ask(&gate, "GET", &[("host", "evil.example")]).is_err(), "{hosts:?}");
            // A page of our own, behind a proxy that passes another host on.
            let post = |origin| ask(&gate, "POST", &[("host", "localhost"), ("origin", origin)]);
            assert!(post("https://dreams.example").is_ok() && post("https://evil.example").is_err());
        }
    }

    #[test]
    fn pages_of_strangers_change_nothing() {
        let gate = gate("127.0.0.1:8080", &[]);
        let with = |headers: &[(&str, &str)]| {
            let headers: Vec<_> = headers.iter().copied().chain([("host", "localhost:8080")]).collect();
            (ask(&gate, "POST", &headers).is_ok(), ask(&gate, "GET", &headers).is_ok())
        };
        for friend in [
            &[][..],
            &[("origin", "http://localhost:8080")],
            &[("origin", "https://friend.example"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8080")],
            &[("sec-fetch-site", "none")],
        ] {
            assert_eq!(with(friend), (true, true), "{friend:?}");
        }
        for stranger in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site"), ("origin", "http://localhost:9999")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("origin", "http://localhost:9999")],
        ] {
            assert_eq!(with(stranger), (false, true), "{stranger:?}");
        }
    }
}
