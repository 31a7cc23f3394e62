//! `server.public_url`: the URL under which clients reach the server. Links in responses begin with it.
//!
//! It is a setting, because a request cannot tell: `Host` and the forwarding headers hold what a client or a
//! proxy wrote, and a link with a foreign host leads other clients astray.

use std::{fmt, str::FromStr};

use axum::http::{Uri, uri::Authority};

/// The prefix of every link: a URL without a trailing slash, or nothing, so that links are paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    authority: Option<Authority>,
    path: String,
}

/// The text is not a usable URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a usable URL; expected one such as https://dreams.example.org, without user, query and fragment"
)]
pub struct NotAPublicUrl(String);

impl PublicUrl {
    /// Host name that clients use, without the port.
    pub fn host(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::host)
    }

    /// The origin of pages that the server itself shows, as browsers send it.
    pub fn origin(&self) -> Option<&str> {
        (!self.origin.is_empty()).then_some(self.origin.as_str())
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl FromStr for PublicUrl {
    type Err = NotAPublicUrl;

    fn from_str(text: &str) -> Result<Self, NotAPublicUrl> {
        read(text.trim()).ok_or_else(|| NotAPublicUrl(text.to_owned()))
    }
}

fn read(text: &str) -> Option<PublicUrl> {
    // Links also stand in `Location`, which is ASCII. The parser drops a fragment without a word.
    if !text.is_ascii() || text.contains(['#', '?']) {
        return None;
    }
    let uri = text.parse::<Uri>().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let has_port = authority.as_str() != authority.host();
    if authority.host().is_empty() || (has_port && authority.port_u16().is_none()) {
        return None;
    }
    Some(PublicUrl {
        origin: format!("{scheme}://{}", authority.as_str().to_ascii_lowercase()),
        authority: Some(authority.clone()),
        path: uri.path().trim_end_matches('/').to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_prefixes() {
        for (text, prefix, host) in [
            ("https://dreams.example", "https://dreams.example", "dreams.example"),
            (" HTTPS://Dreams.Example/ ", "https://dreams.example", "Dreams.Example"),
            ("http://10.0.0.1:8443/reverie/", "http://10.0.0.1:8443/reverie", "10.0.0.1"),
            ("http://[::1]:80", "http://[::1]:80", "[::1]"),
        ] {
            let url: PublicUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.host()), (prefix, Some(host)), "{text}");
        }
        assert_eq!(PublicUrl::default().to_string(), "");
    }

    #[test]
    fn what_would_lead_elsewhere_is_refused() {
        for text in [
            "dreams.example",
            "/v1",
            "//dreams.example",
            "ftp://dreams.example",
            "javascript:alert(1)",
            "https://",
            "https://user@dreams.example",
            "https://dreams.example?x=1",
            "https://dreams.example/#top",
            "https://dreams.example/a b",
            "https://dreams.example/ä",
            "https://dreams.example:port",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }
}
