//! What tenants have used, in PostgreSQL.

use async_trait::async_trait;

use super::{PostgresQueue, in_time};
use crate::{
    jobs::{
        DailyUsage, QueueError, UsageStore,
        usage::{USAGE, day},
    },
    keys::Tenant,
};

#[async_trait]
impl UsageStore for PostgresQueue {
    async fn usage(&self, tenant: &Tenant, from_day: i64) -> Result<Vec<DailyUsage>, QueueError> {
        let days = sqlx::query(USAGE).bind(tenant.as_str()).bind(from_day);
        in_time(days.fetch_all(&self.pool)).await?.iter().map(day).collect()
    }
}
