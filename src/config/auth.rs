//! `[auth]`: whether requests need a key, and the first key.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Fields, secret_files, text};
use crate::keys::{LinkSecret, Token};

/// Who may use the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// Whether requests need a key.
    pub mode: AuthMode,
    /// Whether a server without keys may listen beyond loopback.
    pub allow_anonymous: bool,
    /// A key that the start makes, so that there is a first one.
    pub bootstrap_key: Option<Token>,
    /// A file that holds it instead.
    pub bootstrap_key_file: Option<PathBuf>,
    /// Secrets of signed links: the first one signs, all of them are accepted; none for no such links.
    pub link_secrets: Vec<LinkSecret>,
}

/// Whether requests need a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// No: every client is the default tenant.
    #[default]
    Off,
    /// Yes, every request but those for health and for the contract.
    Keys,
}

pub(super) fn auth(fields: &mut Fields, default: AuthConfig) -> AuthConfig {
    let bootstrap_key = text(fields, "bootstrap_key").filter(|given| !given.is_empty());
    let bootstrap_key = bootstrap_key.and_then(|given| match given.trim().parse::<Token>() {
        Ok(token) => Some(token),
        Err(error) => {
            // The message does not repeat the value.
            fields.error("bootstrap_key", error.to_string());
            None
        }
    });
    let bootstrap_key_file = text(fields, "bootstrap_key_file").filter(|file| !file.is_empty());
    if bootstrap_key.is_some() && bootstrap_key_file.is_some() {
        fields.error("bootstrap_key_file", "is given beside bootstrap_key; give one of them");
    }
    let mut link_secrets = default.link_secrets;
    for text in secret_files::texts(fields, "link_secrets").unwrap_or_default() {
        match text.trim().parse() {
            Ok(secret) => link_secrets.push(secret),
            Err(error) => fields.error("link_secrets", error.to_string()),
        }
    }
    AuthConfig {
        mode: fields.choice("mode").unwrap_or(default.mode),
        allow_anonymous: fields.flag("allow_anonymous").unwrap_or(default.allow_anonymous),
        bootstrap_key,
        bootstrap_key_file: bootstrap_key_file.map(PathBuf::from),
        link_secrets,
    }
}
