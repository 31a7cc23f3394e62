//! Claims a job. The claim of a job that this version cannot read is rolled back, so the job stays unchanged.

use uuid::Uuid;

use super::{CLAIM, SqliteQueue};
use crate::jobs::{Claim, Lease, QueueError, row, transition::millis};

/// Unreadable jobs that one poll skips; the next poll continues from there.
const MAX_SKIPPED: usize = 16;

impl SqliteQueue {
    /// See [`JobQueue::claim`](crate::jobs::JobQueue::claim).
    pub(super) async fn take(&self, worker: &str) -> Result<Option<Claim>, QueueError> {
        for _ in 0..MAX_SKIPPED {
            let (token, left) = (Uuid::new_v4(), serde_json::Value::from(self.unreadable.left()).to_string());
            let mut transaction = self.writer.begin().await?;
            let claimed = sqlx::query(CLAIM)
                .bind(worker)
                .bind(token.to_string())
                .bind(millis(self.options.lease))
                .bind(self.now().as_millis())
                .bind(left)
                .fetch_optional(&mut *transaction);
            let Some(row) = claimed.await? else { return Ok(None) };
            match row::job(&row) {
                Ok(job) => {
                    self.writer.commit(transaction).await?;
                    self.signals.changed(job.id);
                    return Ok(Some(Claim { lease: Lease { job: job.id, token }, job }));
                }
                // The dropped transaction rolls back: the job is unchanged.
                Err(QueueError::Corrupt { id, problem }) => {
                    self.unreadable.leave(id, &problem);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
