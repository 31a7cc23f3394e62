//! Retention: finished jobs lose their pictures after a while, and are forgotten after another.
//!
//! The order of things is what keeps promises: a row says that its pictures are gone before they are, and a
//! row goes only after its pictures. Whenever the process ends in between, what is left is a picture without
//! a row, which merely takes space and is found at the next start, and never a row that promises a picture.
//! Jobs that have not finished are never touched.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    clock::{Clock, Timestamp},
    config::RetentionConfig,
    jobs::{Erased, Job, JobId, JobQueue, JobState, QueueError},
    objects::{ObjectError, ObjectKey, Objects},
};

/// How often finished jobs are looked at. Retention is counted in days: a minute is neither late nor costly.
const EVERY: Duration = Duration::from_secs(60);

/// Jobs per statement: few enough that no other writer waits long.
const BATCH: u32 = 100;

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
pub struct Sweeper {
    queue: Arc<dyn JobQueue>,
    objects: Objects,
    retention: RetentionConfig,
    clock: Clock,
}

impl Sweeper {
    /// A sweeper of these stores.
    pub fn new(queue: Arc<dyn JobQueue>, objects: Objects, retention: RetentionConfig, clock: Clock) -> Self {
        Self { queue, objects, retention, clock }
    }

    /// Sweeps until told to stop; orphans are looked for once, at the start.
    pub(super) async fn work(self, stop: CancellationToken) {
        let sweeping = async {
            match self.orphans().await {
                Ok(0) => {}
                Ok(orphans) => info!(orphans, "pictures without a job were removed"),
                Err(error) => error!(%error, "pictures without a job could not be looked for"),
            }
            let mut rounds = interval(EVERY);
            rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                rounds.tick().await;
                match self.round().await {
                    Ok(swept) if swept == Swept::default() => {}
                    Ok(Swept { erased, forgotten }) => info!(erased, forgotten, "old jobs were removed"),
                    Err(error) => error!(%error, "old jobs could not be removed; it is tried again"),
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
        let mut swept = Swept::default();
        while let Some(before) = self.before(self.retention.results) {
            let batch = self.queue.give_up_pictures(before, BATCH).await?;
            self.delete_pictures(&batch).await?;
            swept.erased += batch.len() as u64;
            if batch.len() < BATCH as usize {
                break;
            }
        }
        while let Some(before) = self.before(self.retention.jobs) {
            let batch = self.queue.ended_before(before, BATCH).await?;
            // Again, in case that an earlier round was cut off.
            self.delete_pictures(&batch).await?;
            let ids: Vec<JobId> = batch.iter().map(|job| job.id).collect();
            swept.forgotten += self.queue.forget_ended(&ids).await?;
            if batch.len() < BATCH as usize {
                break;
            }
        }
        Ok(swept)
    }

    /// The moment that lies `age` back; none where things are kept for ever.
    fn before(&self, age: Option<Duration>) -> Option<Timestamp> {
        age.map(|age| self.clock.now() - age)
    }

    async fn delete_pictures(&self, batch: &[Erased]) -> Result<(), ObjectError> {
        let mut keys = Vec::new();
        for job in batch {
            let kinds = [ObjectKey::Input, ObjectKey::Mask, ObjectKey::Checkpoint, ObjectKey::Preview];
            keys.extend(kinds.map(|kind| kind(job.id)));
            keys.extend(job.result.map(|lease| ObjectKey::Result(job.id, lease)));
        }
        self.objects.delete_all(keys).await
    }

    /// Removes pictures that no job owns: left by a process that was killed between two steps.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn orphans(&self) -> Result<u64, SweepError> {
        let before = self.clock.now() - ORPHAN_AGE;
        let mut orphans = 0;
        // A batch at a time: a bucket may hold more names than fit into memory.
        let mut old = self.objects.older_than(before).try_chunks(BATCH as usize);
        while let Some(batch) = old.next().await {
            let mut unowned = Vec::new();
            for key in batch.map_err(|cut| cut.1)? {
                match self.queue.get(key.job()).await {
                    Ok(job) if is_owned(&job, key) => {}
                    Ok(_) | Err(QueueError::NotFound(_)) => unowned.push(key),
                    Err(error) => return Err(error.into()),
                }
            }
            orphans += unowned.len() as u64;
            self.objects.delete_all(unowned).await?;
        }
        Ok(orphans)
    }
}

/// Whether anybody may still ask for this picture of the job.
fn is_owned(job: &Job, key: ObjectKey) -> bool {
    match key {
        _ if job.erased_at.is_some() => false,
        ObjectKey::Input(_) | ObjectKey::Mask(_) => true,
        // What helps a job on its way is of no use at its end.
        ObjectKey::Checkpoint(_) | ObjectKey::Preview(_) => !job.state.is_finished(),
        // Until a job has ended, a worker may be about to hand in what it stored.
        ObjectKey::Result(..) => match job.state {
            JobState::Queued | JobState::Running => true,
            _ => ObjectKey::result_of(job) == Some(key),
        },
    }
}
