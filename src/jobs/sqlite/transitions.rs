//! Writes transitions, each in a transaction that is open since the row was read.

use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{SqliteQueue, TRANSITION, select};
use crate::{
    jobs::{
        Event, Job, JobId, JobSnapshot, JobState, Lease, QueueError, Rescued, row, sql,
        transition::{Transition, TransitionData, bind_transition, is_there},
    },
    keys::Tenant,
};

impl SqliteQueue {
    /// Ends a held job or returns it to the queue.
    pub(super) async fn leave(
        &self,
        lease: Lease,
        event: Event,
        data: TransitionData,
    ) -> Result<Job, QueueError> {
        let mut transaction = self.writer.begin().await?;
        let held = sqlx::query(sql::HELD).bind(lease.job.to_string()).bind(lease.token.to_string());
        let row = held.fetch_optional(&mut *transaction).await?.ok_or(QueueError::LeaseLost)?;
        self.transition(&mut transaction, lease.job, &row, event, data).await?;
        let job = select(&mut transaction, lease.job).await?;
        self.writer.commit(transaction).await?;
        self.signals.changed(job.id);
        if job.state == JobState::Queued {
            self.signals.work_is_there();
        }
        // The transition is written even if that fails.
        Ok(self.placed(job.clone()).await.unwrap_or(job))
    }

    /// Applies what a client asks of its job, unless the job is already there.
    pub(super) async fn request(&self, tenant: &Tenant, id: JobId, event: Event) -> Result<Job, QueueError> {
        let mut transaction = self.writer.begin().await?;
        let row = sqlx::query(sql::SELECT).bind(id.to_string()).bind(tenant.as_str());
        let row = row.fetch_optional(&mut *transaction).await?.ok_or(QueueError::NotFound(id))?;
        let mut job = row::job(&row)?;
        if !is_there(job.snapshot(), event)? {
            self.transition(&mut transaction, id, &row, event, TransitionData::default()).await?;
            job = select(&mut transaction, id).await?;
            self.writer.commit(transaction).await?;
            self.signals.changed(id);
            if job.state == JobState::Queued {
                self.signals.work_is_there();
            }
        }
        Ok(self.placed(job.clone()).await.unwrap_or(job))
    }

    /// Writes one transition. The open transaction guarantees that the row is unchanged since it was read.
    /// The other columns of the row need not be readable by this version.
    pub(super) async fn transition(
        &self,
        connection: &mut SqliteConnection,
        id: JobId,
        row: &SqliteRow,
        event: Event,
        data: TransitionData,
    ) -> Result<JobSnapshot, QueueError> {
        let transition = Transition::new(id, row::snapshot(row)?, event, data, self.options.max_attempts)?;
        bind_transition!(TRANSITION, &transition, self.now().as_millis()).fetch_one(&mut *connection).await?;
        Ok(transition.next)
    }

    /// Applies one event to all jobs of a list. Skips jobs whose snapshot comes from a newer version.
    pub(super) async fn change_all(
        &self,
        connection: &mut SqliteConnection,
        rows: &[SqliteRow],
        event: Event,
    ) -> Result<Vec<Rescued>, QueueError> {
        let mut changed = Vec::with_capacity(rows.len());
        for row in rows {
            let read = row::job_id(row).and_then(|id| row::snapshot(row).map(|_| id));
            let Some(id) = self.unreadable.skip(read)? else { continue };
            let snapshot = self.transition(connection, id, row, event, TransitionData::default()).await?;
            changed.push(Rescued { id, snapshot });
        }
        Ok(changed)
    }
}
