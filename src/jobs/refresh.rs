//! Another look at jobs that were read before, for many followers of many jobs: the versions of all of them come with one
//! statement, and those that have changed with a second one.

use std::{collections::HashMap, sync::Arc};

use super::{
    Job, JobId, QueueError,
    row::{self, Columns},
    unreadable::Unreadable,
};

/// The jobs that still exist: unchanged, or to be read.
pub(super) struct Look {
    jobs: Vec<Job>,
    /// Those of another version than the known one.
    pub changed: Vec<JobId>,
}

impl Look {
    /// Compares what is known with rows of [`sql::versions!`](super::sql).
    pub fn of<R: Columns>(known: &[Arc<Job>], rows: &[R]) -> Result<Self, QueueError> {
        let version = |row: &R| -> Result<(JobId, u64), QueueError> {
            Ok((row::job_id(row)?, row.integer("version")?.unwrap_or_default().unsigned_abs()))
        };
        let versions = rows.iter().map(version).collect::<Result<HashMap<_, _>, _>>()?;
        let mut look = Self { jobs: Vec::with_capacity(known.len()), changed: Vec::new() };
        for job in known {
            match versions.get(&job.id) {
                Some(version) if *version == job.version => look.jobs.push(Job::clone(job)),
                Some(_) => look.changed.push(job.id),
                None => {}
            }
        }
        Ok(look)
    }

    /// With the changed ones, from rows of [`sql::found!`](super::sql).
    pub fn with(mut self, rows: &[impl Columns], unreadable: &Unreadable) -> Result<Vec<Job>, QueueError> {
        for row in rows {
            self.jobs.extend(unreadable.skip(row::job(row))?);
        }
        Ok(self.jobs)
    }
}
