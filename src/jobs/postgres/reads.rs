//! What clients read in PostgreSQL: jobs with their places, pages of them, and another look at many.

use std::sync::Arc;

use super::{PostgresQueue, in_time, upkeep::listed};
use crate::{
    jobs::{
        Idempotency, Job, JobId, JobQueue, JobState, Page, PageStart, QueueError,
        places::{self, Places, Queue},
        refresh::Look,
        row, sql,
    },
    keys::Tenant,
};

const VERSIONS: &str = sql::versions!("id = ANY($1)");
const FOUND: &str = sql::found!("id = ANY($1)");

impl PostgresQueue {
    /// The places of the waiting jobs.
    pub(super) async fn places(&self) -> Result<Arc<Places>, QueueError> {
        let read = || async {
            let waiting = in_time(sqlx::query(sql::WAITING_JOBS).fetch_all(&self.pool)).await?;
            let running = in_time(sqlx::query(sql::RUNNING_JOBS).fetch_all(&self.pool)).await?;
            let served = in_time(sqlx::query(sql::SERVED_TENANTS).fetch_all(&self.pool)).await?;
            Queue::read(&waiting, &running, &served)
        };
        self.places.get(&self.options.tenants, read).await
    }

    /// The job with its place, if it waits.
    pub(super) async fn placed(&self, mut job: Job) -> Result<Job, QueueError> {
        places::fill(std::slice::from_mut(&mut job), self.places()).await?;
        Ok(job)
    }
}

/// See [`JobQueue::repeated`].
pub(super) async fn repeated(
    queue: &PostgresQueue,
    tenant: &Tenant,
    idempotency: &Idempotency,
) -> Result<Option<Job>, QueueError> {
    let found = sqlx::query(sql::WITH_KEY).bind(&idempotency.key).bind(tenant.as_str());
    let Some(row) = in_time(found.fetch_optional(&queue.pool)).await? else { return Ok(None) };
    queue.get(tenant, row::known(&row, idempotency)?).await.map(Some)
}

/// See [`JobQueue::list`].
pub(super) async fn list(
    queue: &PostgresQueue,
    tenant: &Tenant,
    state: Option<JobState>,
    start: Option<PageStart>,
    limit: u32,
) -> Result<Page, QueueError> {
    let statement = if state.is_some() { sql::LIST_IN_STATE } else { sql::LIST };
    let (created_at, id) = row::page_start(start);
    let query =
        sqlx::query(statement).bind(created_at).bind(id).bind(i64::from(limit) + 1).bind(tenant.as_str());
    let query = if let Some(state) = state { query.bind(state.as_str()) } else { query };
    let mut page = row::page(&in_time(query.fetch_all(&queue.pool)).await?, limit, &queue.unreadable)?;
    places::fill(&mut page.jobs, queue.places()).await?;
    Ok(page)
}

/// See [`JobQueue::get`].
pub(super) async fn get(queue: &PostgresQueue, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
    let row = sqlx::query(sql::SELECT).bind(id.to_string()).bind(tenant.as_str());
    let row = in_time(row.fetch_optional(&queue.pool)).await?;
    queue.placed(row::job(&row.ok_or(QueueError::NotFound(id))?)?).await
}

/// See [`JobQueue::refresh`].
pub(super) async fn refresh(queue: &PostgresQueue, known: &[Arc<Job>]) -> Result<Vec<Job>, QueueError> {
    let ids: Vec<JobId> = known.iter().map(|job| job.id).collect();
    let look =
        Look::of(known, &in_time(sqlx::query(VERSIONS).bind(listed(&ids)).fetch_all(&queue.pool)).await?)?;
    let mut rows = Vec::new();
    if !look.changed.is_empty() {
        let ids = listed(&look.changed);
        rows = in_time(sqlx::query(FOUND).bind(ids).fetch_all(&queue.pool)).await?;
    }
    let mut jobs = look.with(&rows, &queue.unreadable)?;
    places::fill(&mut jobs, queue.places()).await?;
    Ok(jobs)
}
