//! Who is asking: compares a client's token with the stored key, through a cache.
//!
//! A key is read from the store at most once in [`MAX_AGE`], however many requests it sends. So a key that is
//! revoked in one process stops working in all others within that time. If the store does not answer, no key
//! works for longer than that.

mod rates;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use crate::{
    clock::{Clock, Timestamp},
    jobs::{JobQueue, QueueError},
    keys::{ApiKey, KeyId, Scope, Scopes, StoredKey, Tenant, Token},
};

pub use rates::{Allowance, Rates};

/// How long a key is used without another look at the store. A revoked key must stop working within 30 seconds.
pub const MAX_AGE: Duration = Duration::from_secs(10);

/// Keys in the cache; it is emptied when full.
const KEPT: usize = 10_000;

/// The use of a key is noted this often.
const USE_PRECISION: f64 = 60.0;

/// Whose request it is, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose jobs it sees.
    pub tenant: Tenant,
    /// Public part of its key; `None` where no key is needed.
    pub key: Option<KeyId>,
    /// What it may do.
    pub scopes: Scopes,
    /// Largest priority of its jobs, if that is bounded.
    pub max_priority: Option<i8>,
}

impl Caller {
    /// A client of a server without keys: it may do everything with jobs, and nothing with keys.
    pub fn anonymous() -> Self {
        let scopes = [Scope::JobsRead, Scope::JobsWrite].into_iter().collect();
        Self { tenant: Tenant::DEFAULT, key: None, scopes, max_priority: None }
    }
}

fn caller_of(key: &ApiKey) -> Caller {
    Caller {
        tenant: key.tenant.clone(),
        key: Some(key.id.clone()),
        scopes: key.scopes.clone(),
        max_priority: key.max_priority,
    }
}

/// Why a token opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No key has this id, or its secret is another one.
    #[error("the key is not known")]
    Unknown,
    /// The key has expired.
    #[error("the key expired at {0}")]
    Expired(Timestamp),
    /// The key was revoked.
    #[error("the key was revoked at {0}")]
    Revoked(Timestamp),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] QueueError),
}

/// A key in the cache.
#[derive(Debug)]
struct Known {
    stored: Arc<StoredKey>,
    /// When it was read: before the store was asked.
    read: Instant,
}

/// See the module's description.
pub struct Authenticator {
    queue: Arc<dyn JobQueue>,
    clock: Clock,
    known: Mutex<HashMap<KeyId, Known>>,
    /// Keys that are being read, each by one request for all that ask at that moment.
    turns: Mutex<HashMap<KeyId, Arc<Queue>>>,
}

/// Who waits for the same key.
type Queue = tokio::sync::Mutex<()>;

/// A place in a [`Queue`], which goes with the last one.
struct Turn<'a> {
    authenticator: &'a Authenticator,
    id: KeyId,
    queue: Arc<Queue>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = lock(&self.authenticator.turns);
        // This one's and the map's: others take theirs while the map is locked.
        if Arc::strong_count(&self.queue) <= 2 {
            turns.remove(&self.id);
        }
    }
}

impl Authenticator {
    /// Checks tokens against the keys of this store; `clock` is the store's.
    pub fn new(queue: Arc<dyn JobQueue>, clock: Clock) -> Self {
        Self { queue, clock, known: Mutex::default(), turns: Mutex::default() }
    }

    /// Returns whose token it is.
    ///
    /// # Errors
    /// See [`AuthError`]. Only who knows the secret is told that a key has expired or was revoked.
    pub async fn check(&self, token: &Token) -> Result<Caller, AuthError> {
        let remembered = self.remembered(token.id());
        let is_fresh = remembered.is_none();
        let stored = match remembered {
            Some(stored) => stored,
            None => self.read(token.id()).await?.ok_or(AuthError::Unknown)?,
        };
        if !stored.digest.matches(token) {
            return Err(AuthError::Unknown);
        }
        let key = &stored.key;
        self.is_in_force(key)?;
        if is_fresh {
            self.note_use(key);
        }
        Ok(caller_of(key))
    }

    /// Returns whose key it is, for what was signed on the key's behalf.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub async fn caller(&self, id: &KeyId) -> Result<Caller, AuthError> {
        let stored = match self.remembered(id) {
            Some(stored) => stored,
            None => self.read(id).await?.ok_or(AuthError::Unknown)?,
        };
        self.is_in_force(&stored.key)?;
        Ok(caller_of(&stored.key))
    }

    /// Whether a key that was checked before still works: for answers that take long.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn still_works(&self, id: &KeyId) -> Result<bool, QueueError> {
        let stored = match self.remembered(id) {
            Some(stored) => Some(stored),
            None => self.read(id).await?,
        };
        Ok(stored.is_some_and(|stored| self.is_in_force(&stored.key).is_ok()))
    }

    /// Checks that a key is neither revoked nor expired.
    fn is_in_force(&self, key: &ApiKey) -> Result<(), AuthError> {
        if let Some(revoked_at) = key.revoked_at {
            return Err(AuthError::Revoked(revoked_at));
        }
        match key.expires_at.filter(|expires_at| *expires_at <= self.clock.now()) {
            Some(expires_at) => Err(AuthError::Expired(expires_at)),
            None => Ok(()),
        }
    }

    /// Reads the key again the next time: this process has just revoked it.
    pub fn forget(&self, id: &KeyId) {
        self.known().remove(id);
    }

    fn remembered(&self, id: &KeyId) -> Option<Arc<StoredKey>> {
        let known = self.known();
        known.get(id).filter(|known| known.read.elapsed() < MAX_AGE).map(|known| Arc::clone(&known.stored))
    }

    /// Reads a key from the store. Unknown ids are not remembered: a stranger can make up any number.
    /// Event streams of one key wake together, and ask once.
    async fn read(&self, id: &KeyId) -> Result<Option<Arc<StoredKey>>, QueueError> {
        let turn = self.turn(id);
        let _held = turn.queue.lock().await;
        if let Some(stored) = self.remembered(id) {
            return Ok(Some(stored));
        }
        let read = Instant::now();
        let Some(stored) = self.queue.find_key(id).await? else { return Ok(None) };
        let stored = Arc::new(stored);
        let mut known = self.known();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(id.clone(), Known { stored: Arc::clone(&stored), read });
        Ok(Some(stored))
    }

    fn turn(&self, id: &KeyId) -> Turn<'_> {
        let queue = Arc::clone(lock(&self.turns).entry(id.clone()).or_default());
        Turn { authenticator: self, id: id.clone(), queue }
    }

    /// Notes the use, beside the request. A failure costs no request.
    fn note_use(&self, key: &ApiKey) {
        let now = self.clock.now();
        if key.last_used_at.is_some_and(|last| now.seconds_since(last) < USE_PRECISION) {
            return;
        }
        let (queue, id) = (Arc::clone(&self.queue), key.id.clone());
        tokio::spawn(async move {
            if let Err(error) = queue.note_use(&id).await {
                warn!(%error, key = %id, "the use of a key could not be noted");
            }
        });
    }

    fn known(&self) -> MutexGuard<'_, HashMap<KeyId, Known>> {
        lock(&self.known)
    }
}

/// No code panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        jobs::{QueueOptions, TenantOptions, sqlite::SqliteQueue},
        keys::NewKey,
    };

    /// Two processes that share a store, and their clock.
    async fn two(folder: &tempfile::TempDir) -> ([Authenticator; 2], Arc<SqliteQueue>, Clock) {
        let clock = Clock::driven(Timestamp::from_millis(1_700_000_000_000));
        let options = QueueOptions {
            capacity: 10,
            lease: Duration::from_secs(30),
            max_attempts: 3,
            clock: clock.clone(),
            tenants: TenantOptions::default(),
        };
        let queue = Arc::new(SqliteQueue::open(&folder.path().join("jobs"), options).await.unwrap());
        let one = || Authenticator::new(Arc::clone(&queue) as Arc<dyn JobQueue>, clock.clone());
        ([one(), one()], queue, clock)
    }

    #[tokio::test]
    async fn a_token_is_its_tenants_until_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let ([auth, _], queue, clock) = two(&folder).await;
        let token = Token::generate().unwrap();
        assert!(matches!(auth.check(&token).await, Err(AuthError::Unknown)));
        let scopes: Scopes = [Scope::JobsRead].into_iter().collect();
        let new = NewKey::new(&token, "lab".parse().unwrap(), scopes.clone());
        use crate::jobs::KeyStore;
        queue.add_key(&NewKey { lifetime: Some(Duration::from_secs(5)), ..new }).await.unwrap();
        let caller = auth.check(&token).await.unwrap();
        assert_eq!((caller.tenant.as_str(), caller.scopes), ("lab", scopes));
        // The right id with another secret.
        let other = Token::generate().unwrap().reveal();
        let (_, secret) = other.rsplit_once('_').unwrap();
        let forged: Token = format!("rvk_{}_{secret}", token.id()).parse().unwrap();
        assert!(matches!(auth.check(&forged).await, Err(AuthError::Unknown)));
        clock.advance(Duration::from_secs(5));
        assert!(matches!(auth.check(&token).await, Err(AuthError::Expired(_))));
        // A stranger does not learn that it has expired.
        assert!(matches!(auth.check(&forged).await, Err(AuthError::Unknown)));
    }

    #[tokio::test]
    async fn a_revoked_key_stops_here_at_once_and_elsewhere_soon() {
        use crate::jobs::KeyStore;
        let folder = tempfile::tempdir().unwrap();
        let ([here, there], queue, _) = two(&folder).await;
        let token = Token::generate().unwrap();
        queue.add_key(&NewKey::new(&token, Tenant::DEFAULT, Scopes::all())).await.unwrap();
        for auth in [&here, &there] {
            auth.check(&token).await.unwrap();
        }
        queue.revoke_key(token.id()).await.unwrap();
        here.forget(token.id());
        assert!(!here.still_works(token.id()).await.unwrap());
        assert!(matches!(here.check(&token).await, Err(AuthError::Revoked(_))));
        // Within the age that a remembered key may have it still works there: the store is not asked each time.
        assert!(there.check(&token).await.is_ok());
        assert!(MAX_AGE <= Duration::from_secs(30));
        for known in there.known().values_mut() {
            known.read = known.read.checked_sub(MAX_AGE).unwrap();
        }
        assert!(matches!(there.check(&token).await, Err(AuthError::Revoked(_))));
        assert!(!there.still_works(token.id()).await.unwrap());
    }
}
