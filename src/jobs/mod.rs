//! Jobs: what is kept about a dream from the request to the result, and the queue that keeps it.
//!
//! Nothing here knows HTTP or the renderer's insides. There is one store per database, [`sqlite`] and [`postgres`];
//! what they have in common, the statements above all, stands beside them.

mod fault;
mod group_commit;
mod options;
pub mod postgres;
mod queue;
mod row;
mod schema;
mod signals;
mod sql;
pub mod sqlite;
mod state;
mod transition;
mod unreadable;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use options::{Idempotency, JobOptions, Page, PageStart};
pub use queue::{
    Erased, HeartbeatReply, JobQueue, Owner, QueueError, QueueOptions, REPORT_EVERY, Rescue, Rescued,
    WorkerReport,
};
pub use signals::{CancelListener, ChangeListener, Signals};
pub use state::{Event, InvalidTransition, JobSnapshot, JobState, UnknownState};

use crate::{clock::Timestamp, telemetry::TraceParent};
use reverie_dream::progress::Progress;
use reverie_dream::spec::{DreamSpec, Precision};

/// Identity of a job: a UUIDv7 (RFC 9562), so that ids sort by the time they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// A new id, greater than every earlier one of this process.
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

/// Proof of being the one who runs a job. A new claim makes a new token, so a worker that was given up
/// for dead can never write over its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Random, one per claim.
    pub token: Uuid,
}

/// A job to be put into the queue. Its input must be in the blob store already: a job without its input
/// is a broken promise, a blob without its job merely takes space.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its identity.
    pub id: JobId,
    /// What to dream, complete.
    pub spec: DreamSpec,
    /// When it is wanted.
    pub options: JobOptions,
    /// Where the client may repeat itself: by what to tell.
    pub idempotency: Option<Idempotency>,
    /// The trace that it belongs to.
    pub traceparent: Option<TraceParent>,
    /// What it will take, where that is known.
    pub forecast: Option<Forecast>,
}

/// Seconds assumed of a job for which nothing was predicted; the statements say the same.
pub const UNKNOWN_SECONDS: f64 = 10.0;

/// What a job will take, as predicted when it was accepted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Seconds from the claim to the end, on this machine.
    pub seconds: f64,
    /// Seconds on the machine that work was weighed on (see [`Work`](reverie_dream::plan::Work)): what is learned from
    /// the job is how the two compare.
    pub reference_seconds: f64,
    /// Bytes of memory at the most.
    pub memory: u64,
    /// Pixels × gradient steps over all octaves, in millions.
    pub megapixel_iterations: f64,
}

impl NewJob {
    /// A job without wishes.
    pub fn new(id: JobId, spec: DreamSpec) -> Self {
        let options = JobOptions::default();
        Self { id, spec, options, idempotency: None, traceparent: None, forecast: None }
    }
}

/// Everything that is known about a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
    /// Grows with every visible transition.
    pub version: u64,
    /// What to dream.
    pub spec: DreamSpec,
    /// As asked for; see [`JobOptions::priority`].
    pub priority: i8,
    /// When it expires, if it does.
    pub deadline_at: Option<Timestamp>,
    /// Attempts begun, the one at work included.
    pub attempt: u32,
    /// Whether someone wants it stopped.
    pub cancel_requested: bool,
    /// Place in the queue, 1 being next; only while queued.
    pub queue_position: Option<u64>,
    /// Predicted seconds of the jobs before it, less what those that run have done; only while queued.
    pub seconds_ahead: Option<f64>,
    /// What it was predicted to take.
    pub forecast: Option<Forecast>,
    /// How far the attempt at work has come, or had come when the job ended.
    pub progress: Option<Progress>,
    /// The newest octave, counted from 1, whose preview is stored.
    pub preview_octave: Option<u32>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// What came out.
    pub result: Option<JobResult>,
    /// Seconds of pure rendering, as the renderer counts them.
    pub render_seconds: Option<f64>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When the attempt at work was claimed; the last attempt, once finished.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When the row was last written.
    pub updated_at: Timestamp,
    /// When its pictures were given up, some time after its end.
    pub erased_at: Option<Timestamp>,
    /// The trace that it belongs to.
    pub traceparent: Option<TraceParent>,
    /// How often it went back into the queue because its worker was sick.
    pub spared: u32,
    /// What it computes with where its spec leaves that open; decided by its first worker.
    pub precision: Option<Precision>,
}

impl Job {
    /// What the rules of [`JobSnapshot::next`] need.
    pub fn snapshot(&self) -> JobSnapshot {
        JobSnapshot { state: self.state, attempt: self.attempt, cancel_requested: self.cancel_requested }
    }
}

/// A claimed job, with the proof of it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// As it stands after the claim.
    pub job: Job,
    /// To be shown with every write.
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
    /// Objective of the finished dream.
    pub score: f64,
    /// Length in bytes.
    pub size: u64,
    /// Lower-case hex digest of the bytes.
    pub sha256: String,
    /// What the requester should know about the dream; rows of earlier versions have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a worker hands in with a finished dream.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Where and what the dream is.
    pub result: JobResult,
    /// Seconds of pure rendering.
    pub render_seconds: f64,
    /// Last progress seen.
    pub progress: Option<Progress>,
}

/// What kind of thing went wrong with a job: the last part of the problem type in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// This input and spec cannot be dreamed; trying again would end the same way.
    RenderFailed,
    /// Something is broken on our side; the log has the cause.
    Internal,
    /// Every attempt was cut off, as by a job that kills its worker.
    AttemptsExhausted,
}

/// Why a job failed, in words for its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// What kind of thing.
    pub kind: FailureKind,
    /// One sentence; never an internal cause.
    pub detail: String,
}

impl JobError {
    /// For a job whose worker was lost on every attempt.
    pub fn attempts_exhausted(attempts: u32) -> Self {
        Self {
            kind: FailureKind::AttemptsExhausted,
            detail: format!("the job was cut off in each of its {attempts} attempts and is not tried again"),
        }
    }
}

/// How many jobs stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// See [`JobState::Queued`].
    pub queued: u64,
    /// See [`JobState::Running`].
    pub running: u64,
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
    /// The number in one state.
    pub fn of(&self, state: JobState) -> u64 {
        match state {
            JobState::Queued => self.queued,
            JobState::Running => self.running,
            JobState::Succeeded => self.succeeded,
            JobState::Failed => self.failed,
            JobState::Canceled => self.canceled,
            JobState::Expired => self.expired,
        }
    }
}

/// How long a job rests after an attempt that failed for a passing reason: 1 s, then 4 s, 16 s, …, at most
/// a minute. Without a rest, three attempts would be used up within the same hiccup.
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
