//! API keys: who may do what. Data and rules only; `jobs` stores keys, `auth` checks them, `http` asks for them. Beside
//! them the secrets that sign webhooks and links.
//!
//! A key belongs to one tenant and has scopes. A client knows its whole text, the [`Token`]; the server keeps
//! only a digest of the secret part, so what the database holds opens nothing.

mod link_secret;
mod scope;
mod tenant;
mod token;
mod webhook_secret;

use std::{ops::RangeInclusive, time::Duration};

pub use link_secret::{Link, LinkSecret, WeakSecret};
pub use scope::{Scope, Scopes, UnknownScope};
pub use tenant::{InvalidTenant, Tenant};
pub use token::{KeyId, MalformedToken, SecretDigest, Token};
pub use webhook_secret::{MalformedSecret, WebhookSecret};

use crate::clock::Timestamp;

/// A key to store. The token itself is not kept.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its public part.
    pub id: KeyId,
    /// Digest of its secret part.
    pub digest: SecretDigest,
    /// Whose jobs it opens.
    pub tenant: Tenant,
    /// What it allows.
    pub scopes: Scopes,
    /// Time from its creation until it expires, if it does.
    pub lifetime: Option<Duration>,
    /// Largest priority of its jobs, see [`PRIORITY_BOUNDS`]; `None` for no bound.
    pub max_priority: Option<i8>,
}

impl NewKey {
    /// A key that does not expire, for jobs of any priority.
    pub fn new(token: &Token, tenant: Tenant, scopes: Scopes) -> Self {
        Self {
            id: token.id().clone(),
            digest: token.digest(),
            tenant,
            scopes,
            lifetime: None,
            max_priority: None,
        }
    }
}

/// What the store knows of a key, without its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its public part.
    pub id: KeyId,
    /// Whose jobs it opens.
    pub tenant: Tenant,
    /// What it allows.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Largest priority of its jobs, if that is bounded.
    pub max_priority: Option<i8>,
}

/// A key with the digest of its secret.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// The key.
    pub key: ApiKey,
    /// What a token's secret is compared with.
    pub digest: SecretDigest,
}

/// What a key's largest priority may be: from 0, which jobs have that name none, to the largest of all.
pub const PRIORITY_BOUNDS: RangeInclusive<i8> = 0..=10;

/// Longest time until a key expires: ten years.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
