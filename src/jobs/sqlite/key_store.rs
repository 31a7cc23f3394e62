//! API keys in SQLite.

use async_trait::async_trait;

use super::SqliteQueue;
use crate::{
    jobs::{
        KeyStore, QueueError,
        key_store::{
            FIND_KEY, LIST_KEYS, MOST_LISTED, USE_PRECISION, add_key, bind_key, key, note_use, revoke_key,
            stored_key,
        },
    },
    keys::{ApiKey, KeyId, NewKey, StoredKey, Tenant},
};

const ADD_KEY: &str = add_key!("$6");
const REVOKE_KEY: &str = revoke_key!("$2");
const NOTE_USE: &str = note_use!("$3");

#[async_trait]
impl KeyStore for SqliteQueue {
    async fn add_key(&self, new: &NewKey) -> Result<ApiKey, QueueError> {
        let mut transaction = self.writer.begin().await?;
        bind_key!(ADD_KEY, new, self.now().as_millis()).execute(&mut *transaction).await?;
        let row = sqlx::query(FIND_KEY).bind(new.id.as_str()).fetch_one(&mut *transaction).await?;
        let added = key(&row)?;
        self.writer.commit(transaction).await?;
        Ok(added)
    }

    async fn find_key(&self, id: &KeyId) -> Result<Option<StoredKey>, QueueError> {
        let found = sqlx::query(FIND_KEY).bind(id.as_str()).fetch_optional(&self.readers).await?;
        found.map(|row| stored_key(&row)).transpose()
    }

    async fn list_keys(&self, tenant: Option<&Tenant>) -> Result<Vec<ApiKey>, QueueError> {
        let listed = sqlx::query(LIST_KEYS).bind(tenant.map(Tenant::as_str)).bind(MOST_LISTED);
        listed.fetch_all(&self.readers).await?.iter().map(key).collect()
    }

    async fn revoke_key(&self, id: &KeyId) -> Result<ApiKey, QueueError> {
        let mut transaction = self.writer.begin().await?;
        let revoked = sqlx::query(REVOKE_KEY).bind(id.as_str()).bind(self.now().as_millis());
        let revoked = revoked.fetch_optional(&mut *transaction).await?;
        let revoked = key(&revoked.ok_or_else(|| QueueError::NoKey(id.clone()))?)?;
        self.writer.commit(transaction).await?;
        Ok(revoked)
    }

    async fn note_use(&self, id: &KeyId) -> Result<(), QueueError> {
        let mut transaction = self.writer.begin().await?;
        let noted = sqlx::query(NOTE_USE).bind(id.as_str()).bind(USE_PRECISION).bind(self.now().as_millis());
        noted.execute(&mut *transaction).await?;
        self.writer.commit(transaction).await
    }
}
