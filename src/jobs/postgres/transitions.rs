//! Writes transitions. Each is written only if the row still matches the snapshot that the rules were applied
//! to; otherwise the row is read again.

use sqlx::{PgConnection, postgres::PgRow};

use super::{PostgresQueue, TRANSITION};
use crate::{
    jobs::{
        Event, Job, JobId, JobQueue, JobSnapshot, JobState, Lease, QueueError, Rescued, row, sql,
        transition::{Transition, TransitionData, bind_transition, is_there},
    },
    keys::Tenant,
};

impl PostgresQueue {
    /// Ends a held job or returns it to the queue.
    pub(super) async fn leave(
        &self,
        lease: Lease,
        event: Event,
        data: TransitionData,
    ) -> Result<Job, QueueError> {
        loop {
            let held = sqlx::query(sql::HELD).bind(lease.job.to_string()).bind(lease.token.to_string());
            let row = held.fetch_optional(&self.pool).await?.ok_or(QueueError::LeaseLost)?;
            let (before, data) = (row::snapshot(&row)?, data.clone());
            let transition = Transition::new(lease.job, before, event, data, self.options.max_attempts)?;
            let transition = transition.held_by(lease.token);
            if let Some(written) = self.write(&transition).await? {
                return self.notify(lease.job, transition.next, written).await;
            }
            // A client canceled the job meanwhile, or another process took it: read it again.
        }
    }

    /// Applies what a client asks of its job, unless the job is already there.
    pub(super) async fn request(&self, tenant: &Tenant, id: JobId, event: Event) -> Result<Job, QueueError> {
        loop {
            let job = self.get(tenant, id).await?;
            if is_there(job.snapshot(), event)? {
                return Ok(job);
            }
            let (before, data) = (job.snapshot(), TransitionData::default());
            let transition = Transition::new(id, before, event, data, self.options.max_attempts)?;
            // If it was claimed or returned meanwhile, read it again.
            let Some(written) = self.write(&transition).await? else { continue };
            return self.notify(id, transition.next, written).await;
        }
    }

    /// Writes a transition; `None` if the row no longer matches the snapshot.
    pub(super) async fn write(&self, transition: &Transition) -> Result<Option<PgRow>, QueueError> {
        Ok(bind_transition!(TRANSITION, transition, self.now()).fetch_optional(&self.pool).await?)
    }

    /// Notifies about a written transition and returns the job.
    pub(super) async fn notify(
        &self,
        id: JobId,
        next: JobSnapshot,
        written: PgRow,
    ) -> Result<Job, QueueError> {
        let mut job = row::job(&written);
        if next.state == JobState::Queued {
            // The transition is written even if its place cannot be found.
            job = match job {
                Ok(job) => Ok(self.placed(job.clone()).await.unwrap_or(job)),
                unreadable => unreadable,
            };
            self.notifier.work_is_there();
        }
        self.notifier.changed(id);
        job
    }

    /// Applies one event to all jobs of a list. This transaction holds the locks on their rows.
    pub(super) async fn change_all(
        &self,
        connection: &mut PgConnection,
        rows: &[PgRow],
        event: Event,
    ) -> Result<Vec<Rescued>, QueueError> {
        let mut changed = Vec::with_capacity(rows.len());
        for row in rows {
            let read = row::job_id(row).and_then(|id| Ok((id, row::snapshot(row)?)));
            // A newer version may know what to do with it.
            let Some((id, snapshot)) = self.unreadable.skip(read)? else { continue };
            let transition =
                Transition::new(id, snapshot, event, TransitionData::default(), self.options.max_attempts)?;
            bind_transition!(TRANSITION, &transition, self.now()).execute(&mut *connection).await?;
            changed.push(Rescued { id, snapshot: transition.next });
        }
        Ok(changed)
    }

    /// Notifies about many changed jobs.
    pub(super) fn notify_all(&self, changed: &[Rescued]) {
        for Rescued { id, snapshot } in changed {
            self.notifier.changed(*id);
            if snapshot.state == JobState::Queued {
                self.notifier.work_is_there();
            }
        }
    }
}
