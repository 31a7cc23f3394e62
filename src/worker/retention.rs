//! Retention: finished jobs lose their pictures after some time, and are deleted after more time.
//!
//! The order of the steps keeps the promises of the API: a row says that its pictures are gone before they
//! are deleted, and a row is deleted only after its pictures. If the process ends or a store fails in
//! between, the leftover is a picture whose row says that it is gone; the next round deletes it. No row ever
//! promises a missing picture. Once a day, one process for all searches for pictures without a row.
//! Unfinished jobs are never touched.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    clock::{Clock, Timestamp},
    config::RetentionConfig,
    jobs::{Erased, JobId, JobQueue, JobState, Owner, QueueError},
    objects::{ObjectError, ObjectKey, Objects},
};

/// How often a round runs. Retention is counted in days, so a minute is neither late nor costly.
const EVERY: Duration = Duration::from_secs(60);

/// Jobs per statement: few enough that no other writer waits long.
const BATCH: u32 = 100;

/// Number of picture keys compared with the job rows at once.
const LISTED: usize = 1000;

/// How often to search for pictures without a job.
const ORPHANS_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Failures in a row after which the round ends, to spare a failing blob store.
const MAX_FAILURES: usize = 5;

/// A younger picture may belong to a job that is being accepted right now.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a round ended early. The next round continues there.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The job store failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The blob store failed.
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

/// The result of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Jobs whose pictures were deleted.
    pub pictures: u64,
    /// Deleted jobs.
    pub jobs: u64,
    /// Uploads that had expired.
    pub uploads: u64,
}

/// Deletes what is past its retention time.
#[derive(Clone)]
pub struct Retention {
    queue: Arc<dyn JobQueue>,
    objects: Objects,
    retention: RetentionConfig,
    clock: Clock,
}

impl Retention {
    /// Creates the retention of these stores.
    pub fn new(queue: Arc<dyn JobQueue>, objects: Objects, retention: RetentionConfig, clock: Clock) -> Self {
        Self { queue, objects, retention, clock }
    }

    /// Runs rounds until `stop` is canceled, and the daily search for orphans when it is this process's turn.
    pub(super) async fn work(self, stop: CancellationToken) {
        let rounds_forever = async {
            let mut rounds = interval(EVERY);
            rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                rounds.tick().await;
                match self.round().await {
                    Ok(deleted) if deleted == Deleted::default() => {}
                    Ok(Deleted { pictures, jobs, uploads }) => {
                        info!(pictures, jobs, uploads, "old jobs, their pictures or uploads were deleted")
                    }
                    Err(error) => error!(%error, "a retention round failed; the next round tries again"),
                }
                match self.orphans_in_turn().await {
                    Ok(None | Some(0)) => {}
                    Ok(Some(orphans)) => info!(orphans, "pictures without a job were deleted"),
                    Err(error) => error!(%error, "the search for pictures without a job failed"),
                }
            }
        };
        // Every step is safe to stop after.
        tokio::select! {
            () = rounds_forever => {}
            () = stop.cancelled() => {}
        }
    }

    /// Deletes everything that is past its retention time now.
    ///
    /// # Errors
    /// If a store fails.
    pub async fn round(&self) -> Result<Deleted, RetentionError> {
        let mut deleted = Deleted::default();
        // A picture of a job that cannot be deleted keeps no upload, nor the other way round.
        let of_jobs = self.of_jobs(&mut deleted).await;
        deleted.uploads = self.uploads().await?;
        of_jobs.map(|()| deleted)
    }

    /// The part of a round that concerns jobs.
    async fn of_jobs(&self, deleted: &mut Deleted) -> Result<(), RetentionError> {
        while let Some(before) = self.before(self.retention.results) {
            let batch = self.queue.expire_blobs(before, BATCH).await?;
            if batch.len() < BATCH as usize {
                break;
            }
        }
        // The jobs just marked, and those whose pictures earlier rounds could not delete.
        let mut behind = None;
        loop {
            let batch = self.queue.blobs_to_delete(behind, BATCH).await?;
            behind = batch.last().map(|job| job.id);
            let (gone, failed) = self.delete_pictures(&batch).await;
            if !gone.is_empty() {
                self.queue.blobs_deleted(&gone).await?;
            }
            deleted.pictures += gone.len() as u64;
            failed?;
            if behind.is_none() {
                break;
            }
        }
        while let Some(before) = self.before(self.retention.jobs) {
            let batch = self.queue.ended_before(before, BATCH).await?;
            // Deleted again, in case an earlier round was interrupted.
            let (gone, failed) = self.delete_pictures(&batch).await;
            deleted.jobs += self.queue.purge(&gone).await?;
            failed?;
            if gone.len() < BATCH as usize {
                break;
            }
        }
        Ok(())
    }

    /// Deletes the uploads that have expired, each picture before its row.
    async fn uploads(&self) -> Result<u64, RetentionError> {
        let mut deleted = 0;
        loop {
            let expired = self.queue.expired_uploads(BATCH).await?;
            self.objects.delete_all(expired.iter().copied().map(ObjectKey::Upload).collect()).await?;
            // One by one: a transaction that counts for several tenants could wait for another for ever.
            for id in &expired {
                self.queue.delete_upload(*id).await?;
            }
            deleted += expired.len() as u64;
            if expired.len() < BATCH as usize {
                return Ok(deleted);
            }
        }
    }

    /// The time `age` ago; `None` if things are kept for ever.
    fn before(&self, age: Option<Duration>) -> Option<Timestamp> {
        age.map(|age| self.clock.now() - age)
    }

    /// Deletes the pictures of jobs. Returns the jobs whose pictures are gone, and the last failure. A
    /// failure with one job does not stop the others.
    async fn delete_pictures(&self, batch: &[Erased]) -> (Vec<JobId>, Result<(), ObjectError>) {
        let all = batch.iter().flat_map(pictures).collect();
        if self.objects.delete_all(all).await.is_ok() {
            return (batch.iter().map(|job| job.id).collect(), Ok(()));
        }
        let (mut gone, mut outcome, mut failures) = (Vec::new(), Ok(()), 0);
        for job in batch {
            match self.objects.delete_all(pictures(job)).await {
                Ok(()) => {
                    gone.push(job.id);
                    failures = 0;
                }
                Err(error) => {
                    warn!(job = %job.id, %error, "the pictures of a job could not be deleted; the next round tries again");
                    outcome = Err(error);
                    failures += 1;
                }
            }
            if failures == MAX_FAILURES {
                break;
            }
        }
        (gone, outcome)
    }

    /// Runs [`Retention::orphans`] if no process did so for a day.
    ///
    /// # Errors
    /// If a store fails.
    pub async fn orphans_in_turn(&self) -> Result<Option<u64>, RetentionError> {
        if !self.queue.take_chore("orphans", ORPHANS_EVERY).await? {
            return Ok(None);
        }
        self.orphans().await.map(Some)
    }

    /// Deletes pictures that no job owns: a process that was killed between two steps left them.
    ///
    /// # Errors
    /// If a store fails.
    pub async fn orphans(&self) -> Result<u64, RetentionError> {
        let before = self.clock.now() - ORPHAN_AGE;
        let mut orphans = 0;
        // In parts: a bucket may hold more keys than fit into memory.
        let mut old = self.objects.older_than(before).try_chunks(LISTED);
        while let Some(listed) = old.next().await {
            let listed = listed.map_err(|cut| cut.1)?;
            let mut ids: Vec<JobId> = listed.iter().filter_map(|key| key.job()).collect();
            ids.sort_unstable();
            ids.dedup();
            let owners = self.queue.owners(&ids).await?;
            let owners: HashMap<JobId, Owner> = owners.into_iter().map(|owner| (owner.id, owner)).collect();
            let owned = |key: &ObjectKey| match (*key, key.job()) {
                (ObjectKey::Tile(_), _) => true,
                (_, Some(job)) => owners.get(&job).is_some_and(|owner| is_owned(owner, *key)),
                // An upload of this age expired long ago, and came too late to go with its row.
                (_, None) => false,
            };
            let unowned: Vec<ObjectKey> = listed.into_iter().filter(|key| !owned(key)).collect();
            orphans += unowned.len() as u64;
            self.objects.delete_all(unowned).await?;
        }
        Ok(orphans)
    }
}

/// Every picture that a job may have.
fn pictures(job: &Erased) -> Vec<ObjectKey> {
    let kinds = [
        ObjectKey::Input,
        ObjectKey::Mask,
        ObjectKey::Guide,
        ObjectKey::Checkpoint,
        ObjectKey::Preview,
        ObjectKey::Thumbnail,
    ];
    let own = kinds.map(|kind| kind(job.id));
    own.into_iter().chain(job.result.map(|lease| ObjectKey::Result(job.id, lease))).collect()
}

/// Whether the job still needs this picture.
fn is_owned(job: &Owner, key: ObjectKey) -> bool {
    match (key, job.state) {
        _ if job.erased => false,
        // A newer version knows what it needs.
        (_, None) => true,
        (ObjectKey::Input(_) | ObjectKey::Mask(_) | ObjectKey::Guide(_), _) => true,
        // Checkpoint and preview are useless once the job has ended.
        (ObjectKey::Checkpoint(_) | ObjectKey::Preview(_), Some(state)) => !state.is_finished(),
        (ObjectKey::Thumbnail(_), Some(state)) => state.is_finished(),
        // These belong to no job.
        (ObjectKey::Upload(_) | ObjectKey::Tile(_), _) => false,
        // Until a job has ended, a worker may be about to complete it with this dream. A result without a
        // readable lease belongs to a newer version.
        (ObjectKey::Result(_, lease), Some(state)) => match (state, job.result) {
            (JobState::Queued | JobState::Running | JobState::Paused, _) | (JobState::Succeeded, None) => {
                true
            }
            (_, own) => own == Some(lease),
        },
    }
}
