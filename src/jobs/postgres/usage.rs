//! What tenants have used, in PostgreSQL.

use async_trait::async_trait;

use super::{PostgresQueue, in_time};
use crate::{
    jobs::{
        DailyUsage, QueueError, UsageStore,
        usage::{STORED, USAGE, day, stored},
    },
    keys::Tenant,
};

#[async_trait]
impl UsageStore for PostgresQueue {
    async fn usage(&self, tenant: &Tenant, from_day: i64) -> Result<Vec<DailyUsage>, QueueError> {
        let days = sqlx::query(USAGE).bind(tenant.as_str()).bind(from_day);
        in_time(days.fetch_all(&self.pool)).await?.iter().map(day).collect()
    }

    async fn stored_bytes(&self, tenant: &Tenant) -> Result<u64, QueueError> {
        let found = sqlx::query(STORED).bind(tenant.as_str()).fetch_optional(&self.pool);
        stored(in_time(found).await?.as_ref())
    }
}
