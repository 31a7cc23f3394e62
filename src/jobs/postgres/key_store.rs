//! API keys in PostgreSQL.

use async_trait::async_trait;

use super::{PostgresQueue, in_time};
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

const ADD_KEY: &str = add_key!("reverie_now($6)");
const REVOKE_KEY: &str = revoke_key!("reverie_now($2)");
const NOTE_USE: &str = note_use!("reverie_now($3)");

#[async_trait]
impl KeyStore for PostgresQueue {
    async fn add_key(&self, new: &NewKey) -> Result<ApiKey, QueueError> {
        in_time(bind_key!(ADD_KEY, new, self.now()).execute(&self.pool)).await?;
        let row = sqlx::query(FIND_KEY).bind(new.id.as_str()).fetch_one(&self.pool);
        key(&in_time(row).await?)
    }

    async fn find_key(&self, id: &KeyId) -> Result<Option<StoredKey>, QueueError> {
        let found = in_time(sqlx::query(FIND_KEY).bind(id.as_str()).fetch_optional(&self.pool)).await?;
        found.map(|row| stored_key(&row)).transpose()
    }

    async fn list_keys(&self, tenant: Option<&Tenant>) -> Result<Vec<ApiKey>, QueueError> {
        let listed = sqlx::query(LIST_KEYS).bind(tenant.map(Tenant::as_str)).bind(MOST_LISTED);
        in_time(listed.fetch_all(&self.pool)).await?.iter().map(key).collect()
    }

    async fn revoke_key(&self, id: &KeyId) -> Result<ApiKey, QueueError> {
        let revoked = sqlx::query(REVOKE_KEY).bind(id.as_str()).bind(self.now());
        let revoked = in_time(revoked.fetch_optional(&self.pool)).await?;
        key(&revoked.ok_or_else(|| QueueError::NoKey(id.clone()))?)
    }

    async fn note_use(&self, id: &KeyId) -> Result<(), QueueError> {
        let noted = sqlx::query(NOTE_USE).bind(id.as_str()).bind(USE_PRECISION).bind(self.now());
        in_time(noted.execute(&self.pool)).await?;
        Ok(())
    }
}
