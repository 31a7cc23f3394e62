//! Taking a job, and stepping over those that this version cannot read: they are given back unharmed.

use uuid::Uuid;

use super::{CLAIM, PostgresQueue};
use crate::jobs::{
    Claim, Event, Lease, QueueError, row, sql,
    transition::{Transition, TransitionData, millis},
};

/// Jobs that cannot be read here and are met by one look for work; the next look goes on from there.
const STEPPED_OVER: usize = 16;

/// A claim whose answer was lost.
const CLAIMED: &str =
    concat!("SELECT ", sql::uncounted!(), " FROM jobs WHERE state = 'running' AND lease_token = $1");

impl PostgresQueue {
    /// See [`JobQueue::claim`](crate::jobs::JobQueue::claim).
    pub(super) async fn take(&self, worker: &str) -> Result<Option<Claim>, QueueError> {
        for _ in 0..STEPPED_OVER {
            let token = Uuid::new_v4();
            let claimed = sqlx::query(CLAIM)
                .bind(worker)
                .bind(token.to_string())
                .bind(millis(self.options.lease))
                .bind(self.now())
                .bind(self.unreadable.left())
                .fetch_optional(&self.pool);
            let claimed = match claimed.await.map_err(QueueError::from) {
                // It may have been done, and would cost the job an attempt if nobody knew of it.
                Err(error) if error.is_down() => {
                    let mine = sqlx::query(CLAIMED).bind(token.to_string()).fetch_optional(&self.pool);
                    Some(mine.await?.ok_or(error)?)
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
                    self.unreadable.leave(id, &problem);
                    self.put_back(Lease { job: row::job_id(&row)?, token }).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Gives back unharmed what was claimed and cannot be read here: others are told of it, and this process is not.
    async fn put_back(&self, lease: Lease) -> Result<(), QueueError> {
        let held = sqlx::query(sql::HELD).bind(lease.job.to_string()).bind(lease.token.to_string());
        // Whoever was faster has dealt with it.
        let Some(row) = held.fetch_optional(&self.pool).await? else { return Ok(()) };
        let (before, data) = (row::snapshot(&row)?, TransitionData::default());
        let transition =
            Transition::new(lease.job, before, Event::Released, data, self.options.max_attempts)?;
        self.write(&transition.held_by(lease.token)).await?;
        self.notifier.changed(lease.job);
        Ok(())
    }
}
