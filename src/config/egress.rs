//! `[egress]`: where the server may send requests for its clients (`crate::egress`).

use ipnet::IpNet;

use super::{Fields, operating, text};

/// Rules for requests that clients have the server send: pictures by URL, and webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressConfig {
    /// Whether clients may give pictures by URL.
    pub fetch_images: bool,
    /// Whether URLs may begin with `http://`.
    pub allow_http: bool,
    /// The only hosts that are asked, `*.example.org` for all below a name; empty for every public one.
    pub allowed_hosts: Vec<String>,
    /// Networks that are asked although they are not public.
    pub allowed_networks: Vec<IpNet>,
    /// A proxy that all of these requests go through; `None` for none.
    pub proxy: Option<String>,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            fetch_images: true,
            allow_http: false,
            allowed_hosts: Vec::new(),
            allowed_networks: Vec::new(),
            proxy: None,
        }
    }
}

pub(super) fn egress(fields: &mut Fields, default: EgressConfig) -> EgressConfig {
    let mut allowed_hosts = default.allowed_hosts;
    for host in fields.texts("allowed_hosts").unwrap_or_default() {
        let name = host.strip_prefix("*.").unwrap_or(&host);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        if name.is_empty() || !name.bytes().all(plain) {
            let expected =
                "expected one such as images.example.org or *.example.org, without scheme and path";
            fields.error("allowed_hosts", format!("\"{host}\" is not a host; {expected}"));
        } else {
            allowed_hosts.push(host.to_ascii_lowercase());
        }
    }
    let proxy = text(fields, "proxy").filter(|proxy| !proxy.is_empty());
    if let Some(proxy) = &proxy
        && !["http://", "https://"].iter().any(|scheme| proxy.starts_with(scheme))
    {
        // The URL may hold a password, so it is not repeated.
        fields.error("proxy", "expected a URL such as http://proxy.example.org:3128");
    }
    EgressConfig {
        fetch_images: fields.flag("fetch_images").unwrap_or(default.fetch_images),
        allow_http: fields.flag("allow_http").unwrap_or(default.allow_http),
        allowed_hosts,
        allowed_networks: operating::networks(fields, "allowed_networks").unwrap_or(default.allowed_networks),
        proxy: proxy.or(default.proxy),
    }
}
