//! What a job store must do. `tests/queue_contract` holds every store to it.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Claim, Counts, Finished, InvalidTransition, Job, JobError, JobId, JobSnapshot, JobState, Lease, NewJob,
    Page, PageStart, Signals, fault::Fault,
};
use crate::clock::{Clock, Timestamp};
use reverie_dream::progress::Progress;
use reverie_dream::spec::Precision;

/// Limits and times of a queue; the same for all processes that share a store.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// Jobs that may wait.
    pub capacity: u32,
    /// How long a worker may stay silent before its job is given to another.
    pub lease: Duration,
    /// Attempts per job, the first included.
    pub max_attempts: u32,
    /// Source of every timestamp.
    pub clock: Clock,
}

/// Why the queue did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Every place is taken.
    #[error("the queue is full: {capacity} jobs are waiting")]
    Full {
        /// Number of places.
        capacity: u32,
    },
    /// There is no such job.
    #[error("there is no job {0}")]
    NotFound(JobId),
    /// The job has ended; what was asked is for jobs that have not.
    #[error("the job is already {0}")]
    Finished(JobState),
    /// The idempotency key belongs to another request.
    #[error("the idempotency key was used before, for a request with another content")]
    KeyReused,
    /// The worker's lease is gone: the job was finished or given to another. It must drop the job.
    #[error("the lease on the job is lost")]
    LeaseLost,
    /// The event does not fit the state: a mistake of the caller.
    #[error(transparent)]
    InvalidTransition(#[from] InvalidTransition),
    /// A row holds something that this version cannot read: a newer one has written it.
    #[error("job {id} cannot be read by this version: {problem}")]
    Corrupt {
        /// As stored.
        id: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file of an embedded database was deleted, moved or replaced. What was written last may be in none.
    #[error("the job database {} is not the file that was opened: {source}; put it back, or restart the server", file.display())]
    Moved {
        /// The file.
        file: PathBuf,
        /// What is there instead.
        source: io::Error,
    },
    /// The database failed or cannot be reached.
    #[error("the job store failed: {0}")]
    Store(#[from] sqlx::Error),
    /// A database server cannot be used at the start.
    #[error("the database {place} cannot be used: {source} (storage.database)")]
    Unreachable {
        /// Server and name of the database, without a password.
        place: String,
        /// The driver's reason.
        source: sqlx::Error,
    },
    /// The schema was changed by a newer version in a way that older ones cannot live with.
    #[error(
        "the database is of a newer version of reverie: it has the breaking migration {found}, and this version knows \
         them up to {known}; use the newer version, or restore a backup"
    )]
    Newer {
        /// A migration that was run.
        found: i64,
        /// The newest known one.
        known: i64,
    },
    /// Processes that share a database must agree on a setting, and do not.
    #[error(
        "{setting} is {here} in this configuration and {there} in the database, where all processes must agree on it: \
         make them equal, or run `reverie migrate` with the new value and then restart every process with it"
    )]
    Disagree {
        /// Name of the setting.
        setting: &'static str,
        /// As configured.
        here: i64,
        /// As stored by whoever started first.
        there: i64,
    },
    /// The schema could not be brought up to date.
    #[error("the job store cannot be migrated: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl QueueError {
    /// Whether the store had no room to write.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if Fault::of(error) == Fault::Full)
    }

    /// Whether the store cannot be reached or used now, rather than having been asked something wrong.
    pub fn is_down(&self) -> bool {
        match self {
            Self::Store(error) => Fault::of(error) == Fault::Down,
            Self::Unreachable { source, .. } => Fault::of(source) == Fault::Down,
            Self::Moved { .. } => true,
            _ => false,
        }
    }
}

/// Which running jobs are taken from their workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// Those whose lease has run out.
    Expired,
    /// All: right only where no other process can be running any, as at the start of the one server that
    /// holds an embedded store.
    All,
}

/// A durable, bounded queue of jobs.
///
/// When a call returns, what it did survives a power cut. Every write of a worker is fenced by its
/// [`Lease`]; [`QueueError::LeaseLost`] means that nothing was written.
#[async_trait]
pub trait JobQueue: Send + Sync + 'static {
    /// Puts a job into the queue. Where its idempotency key is known, with the same fingerprint, the job that
    /// has it is returned instead, even if the queue is full: the ids tell.
    ///
    /// # Errors
    /// [`QueueError::Full`] when all places are taken, [`QueueError::KeyReused`].
    async fn enqueue(&self, job: NewJob) -> Result<Job, QueueError>;

    /// The job that was made with this idempotency key, if there is one.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn with_key(&self, key: &str) -> Result<Option<JobId>, QueueError>;

    /// At most `limit` jobs, newest first: those in `state`, or all; those behind `start`, or from the newest.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn list(
        &self,
        state: Option<JobState>,
        start: Option<PageStart>,
        limit: u32,
    ) -> Result<Page, QueueError>;

    /// Forgets a job, whatever its state, and returns what was known of it. A worker that is at it has lost
    /// its lease.
    ///
    /// # Errors
    /// [`QueueError::NotFound`].
    async fn delete(&self, id: JobId) -> Result<Job, QueueError>;

    /// Looks a job up, its place in the queue included.
    ///
    /// # Errors
    /// [`QueueError::NotFound`].
    async fn get(&self, id: JobId) -> Result<Job, QueueError>;

    /// Takes the job that is ready and highest in rank (see [`super::JobOptions::priority`]), and counts the
    /// attempt; `None` when there is none. A job whose deadline has passed is not ready. One that this version cannot
    /// read stays as it is, and this store does not look at it again.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn claim(&self, worker: &str) -> Result<Option<Claim>, QueueError>;

    /// Extends the lease, stores progress where there is some, and says whether the job is to stop.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn heartbeat(&self, lease: Lease, progress: Option<Progress>)
    -> Result<HeartbeatReply, QueueError>;

    /// Notes that the preview of an octave, counted from 1, is stored.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn set_preview(&self, lease: Lease, octave: u32) -> Result<(), QueueError>;

    /// Ends a job with its dream.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn complete(&self, lease: Lease, finished: Finished) -> Result<Job, QueueError>;

    /// Ends an attempt without a dream. With `retry` the job waits for another attempt, unless all are
    /// used up.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn fail(&self, lease: Lease, error: JobError, retry: bool) -> Result<Job, QueueError>;

    /// Gives a job back unharmed: the attempt is not counted.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn release(&self, lease: Lease) -> Result<Job, QueueError>;

    /// Gives a job back because its worker is sick: as [`JobQueue::release`], and counted in [`Job::spared`].
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn spare(&self, lease: Lease) -> Result<Job, QueueError>;

    /// Decides what the job computes with, once for all of its attempts: the first who asks has its way, and everyone
    /// hears what it was.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn decide_precision(&self, lease: Lease, wanted: Precision) -> Result<Precision, QueueError>;

    /// The worker has stopped a job that was to stop.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn stopped(&self, lease: Lease) -> Result<Job, QueueError>;

    /// The worker has stopped a job because its deadline has passed.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn expired(&self, lease: Lease) -> Result<Job, QueueError>;

    /// Ends the waiting jobs whose deadline has passed.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn expire_waiting(&self) -> Result<Vec<JobId>, QueueError>;

    /// Asks for a job to stop: at once when queued, as soon as its worker hears of it when running.
    /// Asking twice is fine.
    ///
    /// # Errors
    /// [`QueueError::NotFound`], or [`QueueError::Finished`] when it ended otherwise.
    async fn cancel(&self, id: JobId) -> Result<Job, QueueError>;

    /// Takes jobs from lost workers: back into the queue, or failed after the last attempt.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn rescue(&self, which: Rescue) -> Result<Vec<Rescued>, QueueError>;

    /// Number of jobs in each state.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn counts(&self) -> Result<Counts, QueueError>;

    /// Whether the store answers. Has a connection of its own, so that no number of readers can delay it.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn ping(&self) -> Result<(), QueueError>;

    /// Whether the store takes writes: writes something that nobody reads, and waits for the disk.
    ///
    /// # Errors
    /// When it does not.
    async fn probe(&self) -> Result<(), QueueError>;

    /// Takes on what one process does for all, at most once in so long a time; whether it is the caller's turn.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn take_chore(&self, name: &str, every: Duration) -> Result<bool, QueueError>;

    /// Number of jobs that wait: cheaper than [`JobQueue::counts`].
    ///
    /// # Errors
    /// Only when the store fails.
    async fn depth(&self) -> Result<u64, QueueError>;

    /// Whether there is a place in the queue: a look before the work that accepting is, which decides by itself.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn has_room(&self) -> Result<bool, QueueError>;

    /// When the oldest waiting job was accepted.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn oldest_queued(&self) -> Result<Option<Timestamp>, QueueError>;

    /// Marks jobs that ended before `before` as erased, at most `limit`, the oldest first. Their pictures are
    /// the caller's to delete: nobody is offered them any more.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn expire_blobs(&self, before: Timestamp, limit: u32) -> Result<Vec<Erased>, QueueError>;

    /// Jobs whose pictures were given up and may still be there, at most `limit`, in the order of their ids; those behind
    /// `behind`, or from the first.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn blobs_to_delete(&self, behind: Option<JobId>, limit: u32) -> Result<Vec<Erased>, QueueError>;

    /// Notes that the pictures of these jobs are gone.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn blobs_deleted(&self, ids: &[JobId]) -> Result<(), QueueError>;

    /// What there is of these jobs; those that are not there are left out.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn owners(&self, ids: &[JobId]) -> Result<Vec<Owner>, QueueError>;

    /// Jobs that ended before `before`, at most `limit`, the oldest first.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn ended_before(&self, before: Timestamp, limit: u32) -> Result<Vec<Erased>, QueueError>;

    /// Forgets finished jobs; others are left alone. The number of those forgotten.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn purge(&self, ids: &[JobId]) -> Result<u64, QueueError>;

    /// Predicted seconds until every job that waits or runs now is done by one worker, less what those that run
    /// have done.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn backlog_seconds(&self) -> Result<f64, QueueError>;

    /// Says what this process has to offer, for those who accept jobs elsewhere; to be repeated every
    /// [`REPORT_EVERY`]. An embedded store has no elsewhere.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn report(&self, _crew: &WorkerReport) -> Result<(), QueueError> {
        Ok(())
    }

    /// What the processes that work on this store have reported lately, this one included.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn worker_reports(&self) -> Result<Vec<WorkerReport>, QueueError> {
        Ok(Vec::new())
    }

    /// Notifier that save waiting.
    fn signals(&self) -> &Arc<Signals>;

    /// What time the store goes by.
    fn clock(&self) -> &Clock;

    /// Closes all connections. Calls afterwards fail.
    async fn close(&self);
}

/// How often a process with workers reports.
pub const REPORT_EVERY: Duration = Duration::from_secs(5);

/// The workers of one process, as told to those who accept jobs elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Workers that are able to take jobs; none says good-bye.
    pub workers: usize,
    /// Bytes of memory that one job may take.
    pub memory: u64,
    /// How long dreams take there: model, precision, and the factor to the machine that work was weighed on.
    pub throughput: Vec<(String, Precision, f64)>,
}

/// A finished job whose time is over, and where its dream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Which job.
    pub id: JobId,
    /// Token of the lease that its dream was stored under, if it has one.
    pub result: Option<Uuid>,
}

/// What has to be known of a job to tell which pictures are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Which job.
    pub id: JobId,
    /// Where it stands; none for a state of a newer version.
    pub state: Option<JobState>,
    /// Whether its pictures were given up.
    pub erased: bool,
    /// Token of the lease that its dream was stored under, if it has one that can be read.
    pub result: Option<Uuid>,
}

/// A job taken from a lost worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rescued {
    /// Which job.
    pub id: JobId,
    /// How it stands now.
    pub snapshot: JobSnapshot,
}

/// What a worker learns from a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// Whether someone wants the job stopped.
    pub cancel_requested: bool,
}
