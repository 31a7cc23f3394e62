//! What tenants have used, in SQLite.

use async_trait::async_trait;

use super::SqliteQueue;
use crate::{
    jobs::{
        DailyUsage, QueueError, UsageStore,
        usage::{USAGE, day},
    },
    keys::Tenant,
};

#[async_trait]
impl UsageStore for SqliteQueue {
    async fn usage(&self, tenant: &Tenant, from_day: i64) -> Result<Vec<DailyUsage>, QueueError> {
        let days = sqlx::query(USAGE).bind(tenant.as_str()).bind(from_day);
        days.fetch_all(&self.readers).await?.iter().map(day).collect()
    }
}
