//! The rules of the guard: which URLs may be asked, and which addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use super::{EgressError, address};
use crate::config::EgressConfig;

/// Longest URL in bytes.
pub const LONGEST_URL: usize = 2048;

/// What `[egress]` says, in the form that is asked for each request and each redirect.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    allow_http: bool,
    allowed_hosts: Vec<String>,
    allowed_networks: Vec<IpNet>,
}

impl Rules {
    pub fn new(config: &EgressConfig) -> Self {
        Self {
            allow_http: config.allow_http,
            allowed_hosts: config.allowed_hosts.clone(),
            allowed_networks: config.allowed_networks.clone(),
        }
    }

    /// Reads a URL and checks all of it that is known before its name is looked up.
    pub fn read(&self, text: &str) -> Result<Url, EgressError> {
        if text.len() > LONGEST_URL {
            return Err(EgressError::LongUrl);
        }
        let url = text.parse::<Url>().map_err(|problem| EgressError::NotAUrl(problem.to_string()))?;
        self.check(&url)?;
        Ok(url)
    }

    /// Checks a URL. The parser has brought its host into one form: `http://0x7f.1` is `127.0.0.1` here.
    pub fn check(&self, url: &Url) -> Result<(), EgressError> {
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err(EgressError::Scheme { http: self.allow_http }),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EgressError::Credentials);
        }
        let host = url.host().ok_or_else(|| EgressError::NotAUrl("it has no host".into()))?;
        let name = host.to_string();
        if !self.allowed_hosts.is_empty() && !self.allowed_hosts.iter().any(|rule| covers(rule, &name)) {
            return Err(EgressError::Host(name));
        }
        match host {
            Host::Ipv4(address) => self.check_address(&name, address.into()),
            Host::Ipv6(address) => self.check_address(&name, address.into()),
            Host::Domain(_) => Ok(()),
        }
    }

    /// Checks an address that `host` stands for.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), EgressError> {
        if self.allowed_networks.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        match address::special(address) {
            Some(what) => Err(EgressError::Address { host: host.to_owned(), what }),
            None => Ok(()),
        }
    }
}

/// Whether a rule such as `example.org` or `*.example.org` names this host; a dot at the end changes nothing.
fn covers(rule: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    match rule.strip_prefix("*.") {
        Some(domain) => {
            host.strip_suffix(domain).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
        }
        None => host == rule || host.trim_matches(['[', ']']) == rule,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(config: EgressConfig) -> Rules {
        Rules::new(&config)
    }

    #[test]
    fn urls_are_read_and_refused_for_what_they_say() {
        let strict = rules(EgressConfig::default());
        for good in ["https://example.org", "https://example.org:8443/a?b#c", "https://8.8.8.8/x"] {
            assert!(strict.read(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "example.org",
            "http://example.org",
            "ftp://example.org",
            "file:///etc/passwd",
            "data:,x",
            "https://",
            "https://user@example.org",
            "https://:password@example.org",
            "https://127.0.0.1",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://１２７.0.0.1/",
            &format!("https://example.org/{}", "x".repeat(2048)),
        ] {
            assert!(strict.read(bad).is_err(), "{bad}");
        }
        let open = rules(EgressConfig {
            allow_http: true,
            allowed_networks: vec!["10.1.0.0/16".parse().unwrap()],
            ..EgressConfig::default()
        });
        assert!(open.read("http://10.1.2.3:8080/").is_ok());
        assert!(matches!(open.read("http://10.2.0.1/"), Err(EgressError::Address { .. })));
        assert!(matches!(open.read("gopher://10.1.2.3/"), Err(EgressError::Scheme { http: true })));
    }

    #[test]
    fn only_listed_hosts_are_asked() {
        let hosts = ["images.example", "*.example.net", "8.8.8.8", "2606:4700::1111"];
        let listed =
            rules(EgressConfig { allowed_hosts: hosts.map(str::to_owned).into(), ..EgressConfig::default() });
        for good in [
            "https://images.example",
            "https://IMAGES.example./x",
            "https://a.b.example.net",
            "https://8.8.8.8",
            "https://[2606:4700::1111]/",
        ] {
            assert!(listed.read(good).is_ok(), "{good}");
        }
        for bad in [
            "https://example",
            "https://notimages.example",
            "https://images.example.evil.org",
            "https://example.net",
            "https://evilexample.net",
            "https://1.1.1.1",
        ] {
            assert!(matches!(listed.read(bad), Err(EgressError::Host(_))), "{bad}");
        }
    }
}
