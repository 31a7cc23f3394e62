//! Claims a job. The claim of a job that this version cannot read is rolled back, so the job stays unchanged.

use uuid::Uuid;

use super::{CLAIM, SqliteQueue, TURNS};
use crate::jobs::{Claim, Lease, QueueError, row, sql, transition::millis};

/// Unreadable jobs that one poll skips; the next poll continues from there.
const MAX_SKIPPED: usize = 16;

impl SqliteQueue {
    /// See [`JobQueue::claim`](crate::jobs::JobQueue::claim).
    pub(super) async fn take(&self, worker: &str) -> Result<Option<Claim>, QueueError> {
        for _ in 0..MAX_SKIPPED {
            let (token, left) = (Uuid::new_v4(), serde_json::Value::from(self.unreadable.left()).to_string());
            let now = self.now().as_millis();
            let mut transaction = self.writer.begin().await?;
            let turns = sqlx::query(TURNS).bind(now).bind(&left).fetch_all(&mut *transaction).await?;
            // The transaction is exclusive, so the first one's job is there to be claimed.
            let turn = row::turns(&turns, &self.options.tenants)?.into_iter().next();
            let Some(turn) = turn else { return Ok(None) };
            let claimed = sqlx::query(CLAIM)
                .bind(worker)
                .bind(token.to_string())
                .bind(millis(self.options.lease))
                .bind(now)
                .bind(left)
                .bind(&turn.tenant)
                .fetch_optional(&mut *transaction);
            let Some(row) = claimed.await? else { return Ok(None) };
            if !turn.is_last {
                sqlx::query(sql::SERVED).bind(&turn.tenant).execute(&mut *transaction).await?;
            }
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
