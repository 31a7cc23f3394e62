//! Jobs: everything the service stores about a dream, from the request to the result, and the queue of jobs.
//!
//! This module knows neither HTTP nor the renderer's internals. Each database has a store of its own,
//! [`sqlite`] and [`postgres`]. What they share, above all the SQL statements, stands beside them. A client's
//! call names the tenant, and finds that tenant's jobs only; workers and housekeeping serve all tenants.

mod delivery;
mod delivery_store;
mod error;
mod fault;
mod group_commit;
mod key_store;
mod operations_store;
mod options;
mod places;
pub mod postgres;
mod queue;
mod refresh;
mod row;
mod schema;
mod signals;
mod sql;
pub mod sqlite;
mod state;
mod steering;
mod tile_store;
mod transition;
mod unreadable;
mod upload_store;
mod usage;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use delivery::{
    ClaimedDelivery, Crowded, Delivery, DeliveryAttempt, DeliveryOutcome, DeliveryState, MOST_ATTEMPTS,
    Webhook,
};
pub use delivery_store::DeliveryStore;
pub use error::QueueError;
pub use key_store::KeyStore;
pub use operations_store::{MOST_TENANTS, OperationsStore, TenantLoad};
pub use options::{Idempotency, JobOptions, Page, PageStart};
pub use places::Place;
pub use queue::{
    Erased, HeartbeatReply, JobQueue, Owner, QueueOptions, REPORT_EVERY, Rescue, Rescued, TenantOptions,
    WorkerReport,
};
pub use signals::{ChangeListener, RequestListener, Signals};
pub use state::{Event, InvalidTransition, JobSnapshot, JobState, UnknownState};
pub use tile_store::{MOST_WANTED, TileStore, Wanted};
pub use upload_store::{MOST_UPLOADS, UPLOAD_LIFETIME, Upload, UploadId, UploadStore};
pub use usage::{DAY, DailyUsage, UsageStore};

use crate::{clock::Timestamp, keys::Tenant, telemetry::TraceParent};
use reverie_dream::progress::Progress;
use reverie_dream::spec::{Change, DreamSpec, Precision};

/// Id of a job: a UUIDv7 (RFC 9562), so ids sort by creation time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// Makes a new id, greater than every earlier one of this process.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for JobId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// Proof that a worker holds a job. Each claim makes a new token, so a worker that was presumed dead can
/// never overwrite its successor's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Random, one per claim.
    pub token: Uuid,
}

/// A job to enqueue. Its input must already be in the blob store: a job without its input is a broken
/// promise, while a blob without its job only takes space.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// Whom it belongs to.
    pub tenant: Tenant,
    /// The complete dream spec.
    pub spec: DreamSpec,
    /// Priority and deadline.
    pub options: JobOptions,
    /// Idempotency key and fingerprints, if the client sent a key.
    pub idempotency: Option<Idempotency>,
    /// Trace that the job belongs to.
    pub traceparent: Option<TraceParent>,
    /// Predicted cost, if known.
    pub forecast: Option<Forecast>,
    /// Where its end is told.
    pub webhook: Option<Webhook>,
    /// Length of its files in the blob store: image, mask and guide image.
    pub input_bytes: u64,
}

/// Assumed duration of a job without a prediction, in seconds. The SQL statements use the same value.
pub const UNKNOWN_SECONDS: f64 = 10.0;

/// How long a job may stay paused; after that it expires, and its files with it. The SQL statements use the same value.
pub const PAUSE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Cost of a job, as predicted when it is accepted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Seconds from claim to end, on this machine.
    pub seconds: f64,
    /// Seconds on the reference machine (see [`Work`](reverie_dream::plan::Work)). `Throughput` learns
    /// from the ratio of measured to reference seconds.
    pub reference_seconds: f64,
    /// Peak memory in bytes.
    pub memory: u64,
    /// Pixels × gradient steps over all octaves, in millions.
    pub megapixel_iterations: f64,
}

impl NewJob {
    /// A job of the default tenant with default options.
    pub fn new(id: JobId, spec: DreamSpec) -> Self {
        let options = JobOptions::default();
        let tenant = Tenant::DEFAULT;
        Self {
            id,
            tenant,
            spec,
            options,
            idempotency: None,
            traceparent: None,
            forecast: None,
            webhook: None,
            input_bytes: 0,
        }
    }
}

/// Everything the store knows about a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whom it belongs to.
    pub tenant: Tenant,
    /// Current state.
    pub state: JobState,
    /// Grows with every transition that a client can see.
    pub version: u64,
    /// The dream spec, with the schedule as it stands.
    pub spec: DreamSpec,
    /// The schedule that the job was sent with.
    pub planned: Vec<Change>,
    /// What is to change once the octave or frame begins that it names, if that was asked for.
    pub steering: Option<Change>,
    /// Grows with every change of the schedule and of [`Self::steering`].
    pub steered: u64,
    /// Which octave, or frame, the attempt has begun last.
    pub begun: Option<Begun>,
    /// As requested; see [`JobOptions::priority`].
    pub priority: i8,
    /// When it expires, if it does.
    pub deadline_at: Option<Timestamp>,
    /// Number of attempts started, including the running one.
    pub attempt: u32,
    /// Whether a client asked to cancel the job.
    pub cancel_requested: bool,
    /// Whether a client asked to pause the job while it runs, and its worker has not yet stopped.
    pub pause_requested: bool,
    /// Position in the queue, starting at 1, as workers will take the jobs; only while queued.
    pub queue_position: Option<u64>,
    /// Predicted seconds of the jobs ahead, minus what the running ones have already done; only while queued.
    pub seconds_ahead: Option<f64>,
    /// Predicted cost.
    pub forecast: Option<Forecast>,
    /// Progress of the running attempt, or of the last one when the job ended.
    pub progress: Option<Progress>,
    /// The newest octave, counted from 1, of which a preview is stored.
    pub preview_octave: Option<u32>,
    /// Why the job failed.
    pub error: Option<JobError>,
    /// The stored dream.
    pub result: Option<JobResult>,
    /// Seconds of pure rendering, as measured by the renderer.
    pub render_seconds: Option<f64>,
    /// When the job was accepted.
    pub created_at: Timestamp,
    /// When the current attempt was claimed; for a finished job, the last attempt.
    pub started_at: Option<Timestamp>,
    /// When the job ended.
    pub finished_at: Option<Timestamp>,
    /// When the row was last written.
    pub updated_at: Timestamp,
    /// When its pictures were erased, some time after the job ended; it has nothing to do with the state `Expired`.
    pub erased_at: Option<Timestamp>,
    /// Trace that the job belongs to.
    pub traceparent: Option<TraceParent>,
    /// How often the job went back into the queue because its worker was sick.
    pub spared: u32,
    /// Precision that the job computes with, if its spec leaves it open; its first worker decides it.
    pub precision: Option<Precision>,
}

impl Job {
    /// Whether it was sent with a guide image, whatever follows it by now.
    pub fn has_guide(&self) -> bool {
        DreamSpec { schedule: self.planned.clone(), ..self.spec.clone() }.follows_guide()
    }

    /// The part of the job that [`JobSnapshot::next`] needs.
    pub fn snapshot(&self) -> JobSnapshot {
        JobSnapshot {
            state: self.state,
            attempt: self.attempt,
            cancel_requested: self.cancel_requested,
            pause_requested: self.pause_requested,
        }
    }
}

/// An octave that has begun; of an animation, a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Which one, counted from 1.
    pub place: u32,
    /// Of how many.
    pub places: u32,
}

/// A claimed job and its lease.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The job as it is after the claim.
    pub job: Job,
    /// Every write of the worker must carry it.
    pub lease: Lease,
}

/// A stored dream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// Token of the lease under which it was stored; part of the object's key.
    pub lease: Uuid,
    /// Media type.
    pub media_type: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Objective value of the finished dream.
    pub score: f64,
    /// Length in bytes.
    pub size: u64,
    /// Lower-case hex digest of the bytes.
    pub sha256: String,
    /// Notes for the client about the dream; rows of earlier versions have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a worker submits with a finished dream.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The stored dream and its properties.
    pub result: JobResult,
    /// Seconds of pure rendering.
    pub render_seconds: f64,
    /// Last reported progress.
    pub progress: Option<Progress>,
}

/// Kind of failure: the last part of the problem type in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// This input and spec cannot be rendered; a retry would end the same way.
    RenderFailed,
    /// The server has a fault; the log has the cause.
    Internal,
    /// Every attempt was interrupted, for example by a job that kills its worker.
    AttemptsExhausted,
}

/// Why a job failed, in words for the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// Kind of failure.
    pub kind: FailureKind,
    /// One sentence; never an internal cause.
    pub detail: String,
}

impl JobError {
    /// The error of a job that lost its worker on every attempt.
    pub fn attempts_exhausted(attempts: u32) -> Self {
        Self {
            kind: FailureKind::AttemptsExhausted,
            detail: format!("every one of the job's {attempts} attempts was interrupted; it is not retried"),
        }
    }
}

/// Number of jobs per state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// See [`JobState::Queued`].
    pub queued: u64,
    /// See [`JobState::Running`].
    pub running: u64,
    /// See [`JobState::Paused`].
    pub paused: u64,
    /// See [`JobState::Succeeded`].
    pub succeeded: u64,
    /// See [`JobState::Failed`].
    pub failed: u64,
    /// See [`JobState::Canceled`].
    pub canceled: u64,
    /// See [`JobState::Expired`].
    pub expired: u64,
}

impl Counts {
    /// The number of jobs in `state`.
    pub fn of(&self, state: JobState) -> u64 {
        match state {
            JobState::Queued => self.queued,
            JobState::Running => self.running,
            JobState::Paused => self.paused,
            JobState::Succeeded => self.succeeded,
            JobState::Failed => self.failed,
            JobState::Canceled => self.canceled,
            JobState::Expired => self.expired,
        }
    }
}

/// Delay before the next attempt, after one that failed for a transient reason: 1 s, then 4 s, 16 s, …, at
/// most a minute. Without a delay, one short outage would use up all three attempts.
pub fn retry_delay(attempt: u32) -> Duration {
    let exponent = attempt.saturating_sub(1).min(3);
    Duration::from_secs(4u64.pow(exponent).min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_age() {
        let ids: Vec<JobId> = (0..100).map(|_| JobId::new()).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids[0].to_string().parse(), Ok(ids[0]));
    }

    #[test]
    fn retries_wait_longer_each_time() {
        let seconds: Vec<u64> = (1..6).map(|attempt| retry_delay(attempt).as_secs()).collect();
        assert_eq!(seconds, [1, 4, 16, 60, 60]);
    }
}
