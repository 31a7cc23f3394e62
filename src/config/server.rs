//! `[server]`: the addresses of the server, its clients, and their time limits.

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;

use super::{Fields, PublicUrl, operating, seconds, text};

/// A certificate chain and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key of the first certificate.
    pub key: PathBuf,
}

/// The listeners and limits of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address and port; port 0 lets the system choose a free one.
    pub listen: String,
    /// What clients are served with over TLS; `None` for plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Address and port of a second listener for health and metrics; empty for none.
    pub admin_listen: String,
    /// Time limit for the head of the next request on a connection.
    pub keep_alive: Duration,
    /// Time limit for a client to read a piece of a response.
    pub write_timeout: Duration,
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Maximum per client address; `None` for half of all.
    pub max_connections_per_client: Option<usize>,
    /// Host names that clients may use (`*` for any); empty to derive them from `listen`.
    pub allowed_hosts: Vec<String>,
    /// Origins whose web pages may use the API (`*` for all); none by default.
    pub cors_origins: Vec<String>,
    /// Proxies whose forwarding headers are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Prefix of links in responses; empty for links that are paths.
    pub public_url: PublicUrl,
    /// Whether browsers get the Studio at `/`.
    pub studio: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            tls: None,
            admin_listen: "127.0.0.1:9090".into(),
            keep_alive: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            max_connections: 4096,
            max_connections_per_client: None,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            public_url: PublicUrl::default(),
            studio: true,
        }
    }
}

pub(super) fn server(fields: &mut Fields, default: ServerConfig) -> ServerConfig {
    let listen = text(fields, "listen").unwrap_or(default.listen);
    let listen = checked_address(fields, "listen", listen);
    let tls = tls(fields);
    let admin_listen = match text(fields, "admin_listen") {
        Some(none) if none.is_empty() => none,
        given => checked_address(fields, "admin_listen", given.unwrap_or(default.admin_listen)),
    };
    let keep_alive = seconds(fields, "keep_alive_seconds", 1, 3600).unwrap_or(default.keep_alive);
    let write_timeout = seconds(fields, "write_timeout_seconds", 1, 3600).unwrap_or(default.write_timeout);
    let max_connections = fields.number("max_connections", 8, 1_000_000).unwrap_or(default.max_connections);
    let max_connections_per_client = match fields.number("max_connections_per_client", 0, 1_000_000) {
        Some(0) | None => default.max_connections_per_client,
        given => given,
    };
    let allowed_hosts = fields.texts("allowed_hosts").unwrap_or(default.allowed_hosts);
    for host in &allowed_hosts {
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            let detail =
                format!("\"{host}\" is not a host name; expected one such as dreams.example.org, or *");
            fields.error("allowed_hosts", detail);
        }
    }
    let cors_origins: Vec<String> = fields.texts("cors_origins").unwrap_or(default.cors_origins);
    for origin in &cors_origins {
        let web = origin.starts_with("http://") || origin.starts_with("https://");
        if origin != "*" && (!web || origin.parse::<axum::http::HeaderValue>().is_err()) {
            fields.error(
                "cors_origins",
                format!("\"{origin}\" is neither an origin such as https://example.org nor *"),
            );
        }
    }
    let trusted_proxies = operating::networks(fields, "trusted_proxies").unwrap_or(default.trusted_proxies);
    let public_url = text(fields, "public_url").filter(|url| !url.is_empty());
    let public_url = public_url.map_or(Ok(default.public_url), |url| url.parse::<PublicUrl>());
    let public_url = public_url.unwrap_or_else(|error| {
        fields.error("public_url", error.to_string());
        PublicUrl::default()
    });
    ServerConfig {
        listen,
        tls,
        admin_listen,
        keep_alive,
        write_timeout,
        max_connections,
        max_connections_per_client,
        allowed_hosts,
        cors_origins,
        trusted_proxies,
        public_url,
        studio: fields.flag("studio").unwrap_or(default.studio),
    }
}

/// Both files, or none.
fn tls(fields: &mut Fields) -> Option<TlsFiles> {
    let mut path = |name| text(fields, name).filter(|path| !path.is_empty()).map(PathBuf::from);
    match (path("tls_certificate"), path("tls_key")) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (None, None) => None,
        (certificate, _) => {
            let missing = if certificate.is_none() { "tls_certificate" } else { "tls_key" };
            fields.error(missing, "TLS needs both server.tls_certificate and server.tls_key, or neither");
            None
        }
    }
}

/// Records an error if `address` has no port.
fn checked_address(fields: &mut Fields, name: &'static str, address: String) -> String {
    let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        fields.error(
            name,
            format!("\"{address}\" is not an address with a port; expected one such as 127.0.0.1:8080"),
        );
    }
    address
}
