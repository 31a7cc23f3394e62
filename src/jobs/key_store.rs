//! The interface of the store of API keys, and its statements and rows, once for both databases. It lies beside the
//! queue: one database, one backup, and a key made in one process is known to all.

use async_trait::async_trait;

use super::{
    QueueError,
    row::{self, Columns},
};
use crate::{
    clock::Timestamp,
    keys::{ApiKey, KeyId, NewKey, Scopes, SecretDigest, StoredKey, Tenant},
};

/// Most keys of a list: the newest.
pub(super) const MOST_LISTED: i64 = 1000;

/// Uses within this time of the last noted one are not noted: a row is not written for every request.
pub(super) const USE_PRECISION: i64 = 60_000;

/// The API keys. When a call returns, its effect survives a power cut.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Stores a key. If its id is known, the stored key stays as it is and is returned.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn add_key(&self, key: &NewKey) -> Result<ApiKey, QueueError>;

    /// Returns a key in any condition, also an expired or a revoked one.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn find_key(&self, id: &KeyId) -> Result<Option<StoredKey>, QueueError>;

    /// Lists the newest 1000 keys, newest first: all, or those of one tenant.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn list_keys(&self, tenant: Option<&Tenant>) -> Result<Vec<ApiKey>, QueueError>;

    /// Revokes a key. The time of the first call stays.
    ///
    /// # Errors
    /// [`QueueError::NoKey`].
    async fn revoke_key(&self, id: &KeyId) -> Result<ApiKey, QueueError>;

    /// Notes that a key is used now, to the minute.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn note_use(&self, id: &KeyId) -> Result<(), QueueError>;
}

macro_rules! key_columns {
    () => {
        "id, tenant, scopes, secret_sha256, created_at, expires_at, revoked_at, last_used_at, max_priority"
    };
}

macro_rules! add_key {
    ($now:literal) => {
        concat!(
            "INSERT INTO api_keys (id, tenant, scopes, secret_sha256, created_at, expires_at, max_priority)
            VALUES ($1, $2, $3, $4, ",
            $now,
            ", ",
            $now,
            " + $5, $7)
            ON CONFLICT (id) DO NOTHING"
        )
    };
}

macro_rules! revoke_key {
    ($now:literal) => {
        concat!(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ",
            $now,
            ") WHERE id = $1 RETURNING ",
            $crate::jobs::key_store::key_columns!()
        )
    };
}

macro_rules! note_use {
    ($now:literal) => {
        concat!(
            "UPDATE api_keys SET last_used_at = ",
            $now,
            " WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= ",
            $now,
            " - $2)"
        )
    };
}

pub(super) const FIND_KEY: &str = concat!("SELECT ", key_columns!(), " FROM api_keys WHERE id = $1");

pub(super) const LIST_KEYS: &str = concat!(
    "SELECT ",
    key_columns!(),
    " FROM api_keys WHERE $1 IS NULL OR tenant = $1 ORDER BY created_at DESC, id DESC LIMIT $2"
);

/// Binds the values of [`add_key!`].
macro_rules! bind_key {
    ($statement:expr, $key:expr, $now:expr) => {{
        let key: &$crate::keys::NewKey = $key;
        sqlx::query($statement)
            .bind(key.id.as_str())
            .bind(key.tenant.as_str())
            .bind(key.scopes.to_string())
            .bind(key.digest.as_str())
            .bind(key.lifetime.map($crate::jobs::transition::millis))
            .bind($now)
            .bind(key.max_priority.map(i64::from))
    }};
}

/// Reads a key from its row.
pub(super) fn key(row: &impl Columns) -> Result<ApiKey, QueueError> {
    let time = |column: &str| -> Result<Option<Timestamp>, sqlx::Error> {
        Ok(row.integer(column)?.map(Timestamp::from_millis))
    };
    let text = row.text("id")?.unwrap_or_default();
    let corrupt = |problem: String| QueueError::Corrupt { id: text.to_owned(), problem };
    Ok(ApiKey {
        id: text.parse::<KeyId>().map_err(|error| corrupt(format!("the id of a key: {error}")))?,
        tenant: row::tenant(row)?,
        scopes: Scopes::stored(row.text("scopes")?.unwrap_or_default()),
        created_at: time("created_at")?.ok_or_else(|| corrupt("its created_at is missing".into()))?,
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
        last_used_at: time("last_used_at")?,
        // What this version cannot read allows least.
        max_priority: row.integer("max_priority")?.map(|bound| i8::try_from(bound).unwrap_or_default()),
    })
}

/// Reads a key and the digest of its secret.
pub(super) fn stored_key(row: &impl Columns) -> Result<StoredKey, QueueError> {
    let digest = row.text("secret_sha256")?.unwrap_or_default().to_owned();
    Ok(StoredKey { key: key(row)?, digest: SecretDigest::stored(digest) })
}

pub(super) use {add_key, bind_key, key_columns, note_use, revoke_key};
