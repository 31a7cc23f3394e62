//! Claims a job. A claimed job that this version cannot read returns to the queue unharmed.

use uuid::Uuid;

use super::{CLAIM, PostgresQueue};
use crate::jobs::{
    Claim, Event, Lease, QueueError, row, sql,
    transition::{Transition, TransitionData, millis},
};

/// Unreadable jobs that one poll skips; the next poll continues from there.
const MAX_SKIPPED: usize = 16;

/// Finds the job of a claim whose answer was lost.
const CLAIMED: &str =
    concat!("SELECT ", sql::uncounted!(), " FROM jobs WHERE state = 'running' AND lease_token = $1");

impl PostgresQueue {
    /// See [`JobQueue::claim`](crate::jobs::JobQueue::claim).
    pub(super) async fn take(&self, worker: &str) -> Result<Option<Claim>, QueueError> {
        for _ in 0..MAX_SKIPPED {
            let token = Uuid::new_v4();
            let claimed = sqlx::query(CLAIM)
                .bind(worker)
                .bind(token.to_string())
                .bind(millis(self.options.lease))
                .bind(self.now())
                .bind(self.unreadable.left())
                .fetch_optional(&self.pool);
            let claimed = match claimed.await.map_err(QueueError::from) {
                // The claim may have succeeded. Unnoticed, it would cost the job an attempt.
                Err(error) if error.is_down() => {
                    let found = sqlx::query(CLAIMED).bind(token.to_string()).fetch_optional(&self.pool);
                    Some(found.await?.ok_or(error)?)
                }
                claimed => claimed?,
            };
            let Some(row) = claimed else { return Ok(None) };
            match row::job(&row) {
                Ok(job) => {
                    self.notifier.changed(job.id);
                    return Ok(Some(Claim { lease: Lease { job: job.id, token }, job }));
                }
                Err(QueueError::Corrupt { id, problem }) => {
                    let excluded = self.unreadable.leave(id, &problem);
                    self.put_back(Lease { job: row::job_id(&row)?, token }).await?;
                    // Once per process and job, so that old versions do not wake each other for ever.
                    if excluded {
                        self.notifier.work_elsewhere();
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Returns a job that this version cannot read, and notifies the followers of the job.
    async fn put_back(&self, lease: Lease) -> Result<(), QueueError> {
        let held = sqlx::query(sql::HELD).bind(lease.job.to_string()).bind(lease.token.to_string());
        // Another process already took it.
        let Some(row) = held.fetch_optional(&self.pool).await? else { return Ok(()) };
        let (before, data) = (row::snapshot(&row)?, TransitionData::default());
        let transition =
            Transition::new(lease.job, before, Event::Released, data, self.options.max_attempts)?;
        self.write(&transition.held_by(lease.token)).await?;
        self.notifier.changed(lease.job);
        Ok(())
    }
}
