//! Retention: finished jobs lose their pictures after a while, and are forgotten after another.
//!
//! The order of things is what keeps promises: a row says that its pictures are gone before they are, and a
//! row goes only after its pictures. Whenever the process ends or the store fails in between, what is left is a picture
//! whose row says that it is gone, which the next round deletes, and never a row that promises a picture. Pictures without
//! any row are looked for once a day, by one process for all. Jobs that have not finished are never touched.

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

/// How often finished jobs are looked at. Retention is counted in days: a minute is neither late nor costly.
const EVERY: Duration = Duration::from_secs(60);

/// Jobs per statement: few enough that no other writer waits long.
const BATCH: u32 = 100;

/// Names of pictures that are compared with the rows of their jobs at once.
const LISTED: usize = 1000;

/// How often pictures without a job are looked for.
const ORPHANS_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// A store that fails to delete the pictures of so many jobs in a row is left in peace until the next round.
const MAX_FAILURES: usize = 5;

/// A picture younger than this may belong to a job that is being accepted right now.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a round of sweeping ended early. The next one goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The job store failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The blob store failed.
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs whose pictures are gone.
    pub erased: u64,
    /// Jobs that are forgotten.
    pub forgotten: u64,
}

/// Removes what is past its time.
#[derive(Clone)]
pub struct Retention {
    queue: Arc<dyn JobQueue>,
    objects: Objects,
    retention: RetentionConfig,
    clock: Clock,
}

impl Retention {
    /// A retention of these stores.
    pub fn new(queue: Arc<dyn JobQueue>, objects: Objects, retention: RetentionConfig, clock: Clock) -> Self {
        Self { queue, objects, retention, clock }
    }

    /// Sweeps until told to stop; orphans are looked for by whoever's turn it is.
    pub(super) async fn work(self, stop: CancellationToken) {
        let sweeping = async {
            let mut rounds = interval(EVERY);
            rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                rounds.tick().await;
                match self.round().await {
                    Ok(blobs_deleted) if blobs_deleted == Swept::default() => {}
                    Ok(Swept { erased, forgotten }) => info!(erased, forgotten, "old jobs were removed"),
                    Err(error) => error!(%error, "old jobs could not be removed; it is tried again"),
                }
                match self.orphans_in_turn().await {
                    Ok(None | Some(0)) => {}
                    Ok(Some(orphans)) => info!(orphans, "pictures without a job were removed"),
                    Err(error) => error!(%error, "pictures without a job could not be looked for"),
                }
            }
        };
        // Every step is safe to stop after.
        tokio::select! {
            () = sweeping => {}
            () = stop.cancelled() => {}
        }
    }

    /// Removes everything that is past its time at this moment.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn round(&self) -> Result<Swept, SweepError> {
        let mut blobs_deleted = Swept::default();
        while let Some(before) = self.before(self.retention.results) {
            let batch = self.queue.expire_blobs(before, BATCH).await?;
            if batch.len() < BATCH as usize {
                break;
            }
        }
        // Those and what earlier rounds could not delete.
        let mut behind = None;
        loop {
            let batch = self.queue.blobs_to_delete(behind, BATCH).await?;
            behind = batch.last().map(|job| job.id);
            let (gone, failed) = self.delete_pictures(&batch).await;
            if !gone.is_empty() {
                self.queue.blobs_deleted(&gone).await?;
            }
            blobs_deleted.erased += gone.len() as u64;
            failed?;
            if behind.is_none() {
                break;
            }
        }
        while let Some(before) = self.before(self.retention.jobs) {
            let batch = self.queue.ended_before(before, BATCH).await?;
            // Again, in case that an earlier round was cut off.
            let (gone, failed) = self.delete_pictures(&batch).await;
            blobs_deleted.forgotten += self.queue.purge(&gone).await?;
            failed?;
            if gone.len() < BATCH as usize {
                break;
            }
        }
        Ok(blobs_deleted)
    }

    /// The moment that lies `age` back; none where things are kept for ever.
    fn before(&self, age: Option<Duration>) -> Option<Timestamp> {
        age.map(|age| self.clock.now() - age)
    }

    /// Deletes the pictures of jobs: those that have none any more, and the last failure. One job whose pictures cannot
    /// be deleted does not keep the others'.
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
                    warn!(job = %job.id, %error, "the pictures of a job could not be deleted; it is tried again");
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

    /// As [`Retention::orphans`], where nobody has done it for a day.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn orphans_in_turn(&self) -> Result<Option<u64>, SweepError> {
        if !self.queue.take_chore("orphans", ORPHANS_EVERY).await? {
            return Ok(None);
        }
        self.orphans().await.map(Some)
    }

    /// Removes pictures that no job owns: left by a process that was killed between two steps.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn orphans(&self) -> Result<u64, SweepError> {
        let before = self.clock.now() - ORPHAN_AGE;
        let mut orphans = 0;
        // A part at a time: a bucket may hold more names than fit into memory.
        let mut old = self.objects.older_than(before).try_chunks(LISTED);
        while let Some(listed) = old.next().await {
            let listed = listed.map_err(|cut| cut.1)?;
            let mut ids: Vec<JobId> = listed.iter().map(|key| key.job()).collect();
            ids.sort_unstable();
            ids.dedup();
            let owners = self.queue.owners(&ids).await?;
            let owners: HashMap<JobId, Owner> = owners.into_iter().map(|owner| (owner.id, owner)).collect();
            let owned = |key: &ObjectKey| owners.get(&key.job()).is_some_and(|owner| is_owned(owner, *key));
            let unowned: Vec<ObjectKey> = listed.into_iter().filter(|key| !owned(key)).collect();
            orphans += unowned.len() as u64;
            self.objects.delete_all(unowned).await?;
        }
        Ok(orphans)
    }
}

/// Everything that there may be of a job.
fn pictures(job: &Erased) -> Vec<ObjectKey> {
    let kinds = [ObjectKey::Input, ObjectKey::Mask, ObjectKey::Checkpoint, ObjectKey::Preview];
    let own = kinds.map(|kind| kind(job.id));
    own.into_iter().chain(job.result.map(|lease| ObjectKey::Result(job.id, lease))).collect()
}

/// Whether anybody may still ask for this picture of the job.
fn is_owned(job: &Owner, key: ObjectKey) -> bool {
    match (key, job.state) {
        _ if job.erased => false,
        // A newer version knows what it needs.
        (_, None) => true,
        (ObjectKey::Input(_) | ObjectKey::Mask(_), _) => true,
        // What helps a job on its way is of no use at its end.
        (ObjectKey::Checkpoint(_) | ObjectKey::Preview(_), Some(state)) => !state.is_finished(),
        // Until a job has ended, a worker may be about to hand in what it stored. A dream whose lease cannot be read is
        // a newer version's.
        (ObjectKey::Result(_, lease), Some(state)) => match (state, job.result) {
            (JobState::Queued | JobState::Running, _) | (JobState::Succeeded, None) => true,
            (_, own) => own == Some(lease),
        },
    }
}
