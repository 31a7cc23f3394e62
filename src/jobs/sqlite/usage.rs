//! What tenants have used, in SQLite.

use async_trait::async_trait;

use super::SqliteQueue;
use crate::{
    jobs::{
        DailyUsage, QueueError, UsageStore,
        usage::{STORED, USAGE, day, stored},
    },
    keys::Tenant,
};

#[async_trait]
impl UsageStore for SqliteQueue {
    async fn usage(&self, tenant: &Tenant, from_day: i64) -> Result<Vec<DailyUsage>, QueueError> {
        let days = sqlx::query(USAGE).bind(tenant.as_str()).bind(from_day);
        days.fetch_all(&self.readers).await?.iter().map(day).collect()
    }

    async fn stored_bytes(&self, tenant: &Tenant) -> Result<u64, QueueError> {
        let found = sqlx::query(STORED).bind(tenant.as_str()).fetch_optional(&self.readers).await?;
        stored(found.as_ref())
    }
}
