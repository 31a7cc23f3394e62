//! What operators see, in PostgreSQL.

use async_trait::async_trait;

use super::{PostgresQueue, in_time, select};
use crate::jobs::{
    Job, JobId, JobState, OperationsStore, QueueError, TenantLoad,
    operations_store::{MOST_TENANTS, TENANT_LOADS, all_in, jobs, tenant_load},
};

#[async_trait]
impl OperationsStore for PostgresQueue {
    async fn tenant_loads(&self) -> Result<Vec<TenantLoad>, QueueError> {
        let loads = sqlx::query(TENANT_LOADS).bind(i64::from(MOST_TENANTS));
        in_time(loads.fetch_all(&self.pool)).await?.iter().map(tenant_load).collect()
    }

    async fn jobs_of_all(&self, state: JobState, limit: u32) -> Result<Vec<Job>, QueueError> {
        let Some(statement) = all_in(state) else { return Ok(Vec::new()) };
        let found = sqlx::query(statement).bind(i64::from(limit)).fetch_all(&self.pool);
        jobs(&in_time(found).await?, &self.unreadable)
    }

    async fn job_of_any(&self, id: JobId) -> Result<Job, QueueError> {
        select(&mut *self.pool.acquire().await?, id).await
    }
}
