//! The name of a tenant: of one party whose jobs no other party sees.

use std::{
    borrow::{Borrow, Cow},
    fmt,
    str::FromStr,
};

use serde::Serialize;

/// Longest name in bytes.
const LONGEST: usize = 64;

/// Name of a tenant: 1 to 64 lower-case letters, digits, dots, hyphens and underscores, a letter or digit first.
/// So it fits into logs, JSON paths and file names without escapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Tenant(Cow<'static, str>);

/// The text is not the name of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the name of a tenant; give 1 to {LONGEST} lower-case letters, digits, dots, hyphens or underscores, a letter \
     or digit first"
)]
pub struct InvalidTenant;

impl Tenant {
    /// The tenant of servers without keys, and of jobs from before there were tenants.
    pub const DEFAULT: Self = Self(Cow::Borrowed("default"));

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self::DEFAULT
    }
}

// Names compare and hash as their text, so maps can be asked by text.
impl Borrow<str> for Tenant {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tenant {
    type Err = InvalidTenant;

    fn from_str(text: &str) -> Result<Self, InvalidTenant> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = (1..=LONGEST).contains(&text.len())
            && text.as_bytes().first().copied().is_some_and(plain)
            && text.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'-' | b'_'));
        if fits { Ok(Self(Cow::Owned(text.to_owned()))) } else { Err(InvalidTenant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["default", "a", "7-of_9.lab", &"x".repeat(64)] {
            assert_eq!(name.parse::<Tenant>().unwrap().as_str(), name);
        }
        assert_eq!("default".parse(), Ok(Tenant::DEFAULT));
        for name in ["", "-a", ".a", "A", "a b", "a\"b", "ä", "a/b", &"x".repeat(65)] {
            assert_eq!(name.parse::<Tenant>(), Err(InvalidTenant), "{name}");
        }
    }
}
