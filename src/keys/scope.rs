//! What a key allows.

use std::{fmt, str::FromStr};

use reverie_fields::choices;
use serde::Serialize;

choices! {
    /// What a key allows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
    pub enum Scope {
        /// Look at the tenant's jobs and fetch their pictures.
        JobsRead = "jobs:read",
        /// Submit, change, pause, resume, cancel and erase the tenant's jobs.
        JobsWrite = "jobs:write",
        /// Make, list and revoke the keys of every tenant, see the jobs of every tenant and cancel them: the operator's scope. It opens no pictures.
        Admin = "admin",
    }
}

/// The text names no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope; allowed are jobs:read, jobs:write, admin")]
pub struct UnknownScope;

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::JobsRead, Self::JobsWrite, Self::Admin];

    /// Its name in the API, on the command line and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(UnknownScope)
    }
}

/// A set of scopes, in the order of [`Scope::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Every scope.
    pub fn all() -> Self {
        Self(Scope::ALL.to_vec())
    }

    /// Whether it has this scope.
    pub fn has(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Whether it has no scope.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads stored scopes. Those of a newer version are left out: they allow nothing here.
    pub fn stored(text: &str) -> Self {
        text.split(',').filter_map(|name| name.parse().ok()).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|scope| scope.as_str()).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Scopes {
    type Err = UnknownScope;

    /// Reads names separated by commas; at least one.
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        text.split(',').map(|name| name.trim().parse()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_written() {
        let scopes: Scopes = "jobs:write, jobs:read,jobs:write".parse().unwrap();
        assert_eq!(scopes.to_string(), "jobs:read,jobs:write");
        assert!(scopes.has(Scope::JobsRead) && !scopes.has(Scope::Admin));
        for text in ["", "jobs", "jobs:read,", "Admin"] {
            assert_eq!(text.parse::<Scopes>(), Err(UnknownScope), "{text}");
        }
        // A newer version's scope allows nothing, and spoils nothing.
        assert_eq!(Scopes::stored("jobs:read,usage:read").to_string(), "jobs:read");
        assert!(Scopes::stored("").is_empty());
    }
}
