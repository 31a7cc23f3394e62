//! Changes of a dream on its way, in SQLite: an open write transaction is exclusive.

use super::SqliteQueue;
use crate::jobs::{
    Begun, Forecast, Job, Lease, QueueError, row, sql,
    steering::{bind_begin, bind_schedule, bind_steer, taken_up},
};
use reverie_dream::spec::Change;

/// See [`JobQueue::begin`](crate::jobs::JobQueue::begin).
pub(super) async fn begin(
    queue: &SqliteQueue,
    lease: Lease,
    begun: Begun,
) -> Result<Vec<Change>, QueueError> {
    let mut transaction = queue.writer.begin().await?;
    let row = bind_begin!(lease, begun).fetch_optional(&mut *transaction).await?;
    let job = row::job(&row.ok_or(QueueError::LeaseLost)?)?;
    let schedule = taken_up(&job, begun);
    if let Some(schedule) = &schedule {
        bind_schedule!(lease, schedule, &job).execute(&mut *transaction).await?;
    }
    queue.writer.commit(transaction).await?;
    if schedule.is_some() {
        queue.signals.changed(job.id);
    }
    Ok(schedule.unwrap_or(job.spec.schedule))
}

/// See [`JobQueue::steer`](crate::jobs::JobQueue::steer).
pub(super) async fn steer(
    queue: &SqliteQueue,
    job: &Job,
    change: &Change,
    forecast: Forecast,
) -> Result<Option<Job>, QueueError> {
    let mut transaction = queue.writer.begin().await?;
    let row = bind_steer!(job, change, forecast).fetch_optional(&mut *transaction).await?;
    let Some(job) = row.map(|row| row::job(&row)).transpose()? else { return Ok(None) };
    queue.writer.commit(transaction).await?;
    queue.signals.changed(job.id);
    Ok(Some(queue.placed(job.clone()).await.unwrap_or(job)))
}
