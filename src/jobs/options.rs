//! What a client may ask for beside the dream itself, and how lists of jobs are cut into pages.

use std::{ops::RangeInclusive, time::Duration};

use super::{Job, JobId};
use crate::clock::Timestamp;

/// When a dream is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// Place in the queue: jobs are taken by `priority + minutes waited`, highest first, so a point of
    /// priority is worth a minute and nothing starves: after 20 minutes a job of the lowest priority is
    /// ahead of every newcomer.
    pub priority: i8,
    /// How long after its acceptance the job expires, if it is not finished by then.
    pub deadline: Option<Duration>,
}

impl JobOptions {
    /// Priorities that can be asked for.
    pub const PRIORITIES: RangeInclusive<i8> = -10..=10;

    /// Deadlines that can be asked for, in seconds: up to a week.
    pub const DEADLINE_SECONDS: RangeInclusive<u64> = 1..=604_800;
}

/// Makes a request that is sent twice one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Chosen by the client.
    pub key: String,
    /// Hash of everything that the request asks for, with the defaults of this version filled in: the same key must come
    /// with the same wish. Versions before this one compare nothing else.
    pub fingerprint: String,
    /// Hash of what the client sent. It stays the same where a version has other defaults.
    pub request: String,
}

/// The last job of a page: the next page starts behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageStart {
    /// Its age.
    pub created_at: Timestamp,
    /// Its id, which decides between jobs of one millisecond.
    pub id: JobId,
}

impl PageStart {
    /// Behind this job.
    pub fn after(job: &Job) -> Self {
        Self { created_at: job.created_at, id: job.id }
    }
}

/// A part of the list of jobs, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<PageStart>,
}
