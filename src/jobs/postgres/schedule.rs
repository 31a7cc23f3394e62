//! Changes of a dream on its way, in PostgreSQL. What is written only fits the row as it was read; otherwise it is read again.

use super::PostgresQueue;
use crate::jobs::{
    Begun, Forecast, Job, Lease, QueueError, row, sql,
    steering::{bind_begin, bind_schedule, bind_steer, taken_up},
};
use reverie_dream::spec::Change;

/// See [`JobQueue::begin`](crate::jobs::JobQueue::begin).
pub(super) async fn begin(
    queue: &PostgresQueue,
    lease: Lease,
    begun: Begun,
) -> Result<Vec<Change>, QueueError> {
    loop {
        // From here on a change that is asked for is for a later octave.
        let row = bind_begin!(lease, begun).fetch_optional(&queue.pool).await?;
        let job = row::job(&row.ok_or(QueueError::LeaseLost)?)?;
        let Some(schedule) = taken_up(&job, begun) else { return Ok(job.spec.schedule) };
        let written = bind_schedule!(lease, &schedule, &job).execute(&queue.pool).await?;
        if written.rows_affected() > 0 {
            queue.notifier.changed(job.id);
            return Ok(schedule);
        }
        // Somebody asked for more meanwhile, or the lease is lost.
    }
}

/// See [`JobQueue::steer`](crate::jobs::JobQueue::steer).
pub(super) async fn steer(
    queue: &PostgresQueue,
    job: &Job,
    change: &Change,
    forecast: Forecast,
) -> Result<Option<Job>, QueueError> {
    let row = super::in_time(bind_steer!(job, change, forecast).fetch_optional(&queue.pool)).await?;
    let Some(job) = row.map(|row| row::job(&row)).transpose()? else { return Ok(None) };
    queue.notifier.changed(job.id);
    Ok(Some(queue.placed(job.clone()).await.unwrap_or(job)))
}
