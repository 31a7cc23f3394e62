//! Claims a job: one statement says whose turn it is, the next claims. Between them another process may claim too; then two
//! jobs of one tenant begin in a row, and the next turn is another's all the same. A claimed job that this version cannot read returns to the queue unharmed.

use std::time::Instant;

use sqlx::postgres::PgRow;
use tracing::warn;
use uuid::Uuid;

use super::{CLAIM, PostgresQueue, TURNS};
use crate::jobs::{
    Claim, Event, Lease, QueueError,
    row::{self, Turn},
    sql,
    transition::{Transition, TransitionData, millis},
};

/// Unreadable jobs that one poll skips; the next poll continues from there.
const MAX_SKIPPED: usize = 16;

/// Finds the job of a claim whose answer was lost.
const CLAIMED: &str =
    concat!("SELECT ", sql::columns!(), " FROM jobs WHERE state = 'running' AND lease_token = $1");

impl PostgresQueue {
    /// See [`JobQueue::claim`](crate::jobs::JobQueue::claim).
    pub(super) async fn take(&self, worker: &str) -> Result<Option<Claim>, QueueError> {
        for _ in 0..MAX_SKIPPED {
            let token = Uuid::new_v4();
            let Some(row) = self.take_in_turn(worker, token).await? else { return Ok(None) };
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

    /// Claims the first job of the tenant whose turn it is. If other processes hold all its jobs at this moment, the
    /// next tenant has its turn.
    async fn take_in_turn(&self, worker: &str, token: Uuid) -> Result<Option<PgRow>, QueueError> {
        let left = self.unreadable.left();
        let options = &self.options.tenants;
        if let Some(claimed) = self.take_known_turn(worker, token, &left).await? {
            return Ok(Some(claimed));
        }
        // Where it costs much, one at a time looks: who waited for that takes a turn of it.
        let looking = self.turns.looking().await;
        if let Some(claimed) = self.take_known_turn(worker, token, &left).await? {
            return Ok(Some(claimed));
        }
        let began = Instant::now();
        let turns = sqlx::query(TURNS).bind(self.now()).bind(&left).fetch_all(&self.pool).await?;
        let turns = row::turns(&turns, options)?;
        let kept = self.turns.keep(&turns, began.elapsed());
        drop(looking);
        // Others in this process take turns of the same look.
        if kept {
            return self.take_known_turn(worker, token, &left).await;
        }
        for turn in turns {
            if let Some(claimed) = self.claim_of(&turn, worker, token, &left).await? {
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    }

    /// The same, by a look that is still young; `None` where there is none, or nothing is left of it.
    async fn take_known_turn(
        &self,
        worker: &str,
        token: Uuid,
        left: &[String],
    ) -> Result<Option<PgRow>, QueueError> {
        while let Some(turn) = self.turns.next(&self.options.tenants) {
            match self.claim_of(&turn, worker, token, left).await? {
                Some(claimed) => return Ok(Some(claimed)),
                None => self.turns.leave_out(&turn.tenant),
            }
        }
        Ok(None)
    }

    /// Claims the first job of a tenant, and records its turn; `None` if other processes hold all its jobs at this moment.
    async fn claim_of(
        &self,
        turn: &Turn,
        worker: &str,
        token: Uuid,
        left: &[String],
    ) -> Result<Option<PgRow>, QueueError> {
        let claimed = sqlx::query(CLAIM)
            .bind(worker)
            .bind(token.to_string())
            .bind(millis(self.options.lease))
            .bind(self.now())
            .bind(left)
            .bind(&turn.tenant)
            .fetch_optional(&self.pool);
        let claimed = match claimed.await.map_err(QueueError::from) {
            // The claim may have succeeded. Unnoticed, it would cost the job an attempt.
            Err(error) if error.is_down() => {
                let found = sqlx::query(CLAIMED).bind(token.to_string()).fetch_optional(&self.pool);
                Some(found.await?.ok_or(error)?)
            }
            claimed => claimed?,
        };
        if claimed.is_some() {
            self.serve(turn).await;
        }
        Ok(claimed)
    }

    /// Records the turn. The claim is done whether that succeeds or not; without it the tenant may have another turn.
    async fn serve(&self, turn: &Turn) {
        if turn.is_last {
            return;
        }
        if let Err(error) = sqlx::query(sql::SERVED).bind(&turn.tenant).execute(&self.pool).await {
            warn!(%error, tenant = turn.tenant, "the turn of a tenant could not be recorded");
        }
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
