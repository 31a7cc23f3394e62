//! What clients read in SQLite: jobs with their places, pages of them, and another look at many.

use std::sync::Arc;

use super::{SqliteQueue, select_of, upkeep::listed};
use crate::{
    jobs::{
        Idempotency, Job, JobId, JobState, Page, PageStart, QueueError,
        places::{self, Places, Queue},
        refresh::Look,
        row, sql,
    },
    keys::Tenant,
};

const VERSIONS: &str = sql::versions!("id IN (SELECT value FROM json_each($1))");
const FOUND: &str = sql::found!("id IN (SELECT value FROM json_each($1))");

impl SqliteQueue {
    /// The places of the waiting jobs.
    pub(super) async fn places(&self) -> Result<Arc<Places>, QueueError> {
        let read = || async {
            let waiting = sqlx::query(sql::WAITING_JOBS).fetch_all(&self.readers).await?;
            let running = sqlx::query(sql::RUNNING_JOBS).fetch_all(&self.readers).await?;
            let served = sqlx::query(sql::SERVED_TENANTS).fetch_all(&self.readers).await?;
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

/// See [`JobQueue::repeated`](crate::jobs::JobQueue::repeated).
pub(super) async fn repeated(
    queue: &SqliteQueue,
    tenant: &Tenant,
    idempotency: &Idempotency,
) -> Result<Option<Job>, QueueError> {
    let found = sqlx::query(sql::WITH_KEY).bind(&idempotency.key).bind(tenant.as_str());
    let Some(row) = found.fetch_optional(&queue.readers).await? else { return Ok(None) };
    let job = select_of(&mut *queue.readers.acquire().await?, tenant, row::known(&row, idempotency)?).await?;
    queue.placed(job).await.map(Some)
}

/// See [`JobQueue::list`](crate::jobs::JobQueue::list).
pub(super) async fn list(
    queue: &SqliteQueue,
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
    let mut page = row::page(&query.fetch_all(&queue.readers).await?, limit, &queue.unreadable)?;
    places::fill(&mut page.jobs, queue.places()).await?;
    Ok(page)
}

/// See [`JobQueue::get`](crate::jobs::JobQueue::get).
pub(super) async fn get(queue: &SqliteQueue, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
    let version = match queue.cache.get(id).await? {
        Ok(job) if job.tenant == *tenant => return Ok(job),
        Ok(_) => return Err(QueueError::NotFound(id)),
        Err(version) => version,
    };
    let job = select_of(&mut *queue.readers.acquire().await?, tenant, id).await?;
    let job = queue.placed(job).await?;
    queue.cache.keep(version, &job).await;
    Ok(job)
}

/// See [`JobQueue::refresh`](crate::jobs::JobQueue::refresh).
pub(super) async fn refresh(queue: &SqliteQueue, known: &[Arc<Job>]) -> Result<Vec<Job>, QueueError> {
    let ids: Vec<JobId> = known.iter().map(|job| job.id).collect();
    let look = Look::of(known, &sqlx::query(VERSIONS).bind(listed(&ids)).fetch_all(&queue.readers).await?)?;
    let mut rows = Vec::new();
    if !look.changed.is_empty() {
        let ids = listed(&look.changed);
        rows = sqlx::query(FOUND).bind(ids).fetch_all(&queue.readers).await?;
    }
    let mut jobs = look.with(&rows, &queue.unreadable)?;
    places::fill(&mut jobs, queue.places()).await?;
    Ok(jobs)
}
