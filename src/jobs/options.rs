//! Job options beside the dream spec, and the pages of job lists.

use std::{ops::RangeInclusive, time::Duration};

use super::{Job, JobId};
use crate::clock::Timestamp;

/// Priority and deadline of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// Priority in the queue. Workers take jobs by `priority + minutes waited`, highest first. So a point of
    /// priority is worth a minute, and no job starves: after 20 minutes a job of the lowest priority is ahead
    /// of every new one.
    pub priority: i8,
    /// Time from acceptance until the job expires, if it has not finished.
    pub deadline: Option<Duration>,
}

impl JobOptions {
    /// Allowed priorities.
    pub const PRIORITIES: RangeInclusive<i8> = -10..=10;

    /// Allowed deadlines in seconds: up to a week.
    pub const DEADLINE_SECONDS: RangeInclusive<u64> = 1..=604_800;
}

/// Makes a repeated request return the same job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Chosen by the client.
    pub key: String,
    /// Hash of the resolved request, with the defaults of this version filled in. The same key must come with
    /// the same request. Earlier versions compare nothing else.
    pub fingerprint: String,
    /// Hash of the request as the client sent it. It stays the same in a version with other defaults.
    pub request: String,
}

/// The last job of a page; the next page starts after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageStart {
    /// Its creation time.
    pub created_at: Timestamp,
    /// Its id, which orders jobs of the same millisecond.
    pub id: JobId,
}

impl PageStart {
    /// Starts after this job.
    pub fn after(job: &Job) -> Self {
        Self { created_at: job.created_at, id: job.id }
    }
}

/// A part of the list of jobs, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Start of the next page; `None` on the last page.
    pub next: Option<PageStart>,
}
