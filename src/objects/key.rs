//! Names of blobs.

use std::fmt;

use uuid::Uuid;

use crate::jobs::{Job, JobId, Lease};

/// Name of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKey {
    /// The image that a job starts from.
    Input(JobId),
    /// The image that says where the dream may grow.
    Mask(JobId),
    /// A finished dream. The lease is part of the name, so that a worker that lost its job can neither
    /// overwrite nor delete what its successor stored.
    Result(JobId, Uuid),
    /// The state after the newest finished octave of a job at work. Whoever works on a job writes the same
    /// states in the same order, so the lease is no part of the name.
    Checkpoint(JobId),
    /// The newest finished octave as a small JPEG.
    Preview(JobId),
}

impl ObjectKey {
    /// Where the holder of `lease` stores its dream.
    pub fn result_under(lease: Lease) -> Self {
        Self::Result(lease.job, lease.token)
    }

    /// Where a job's dream is, once there is one.
    pub fn result_of(job: &Job) -> Option<Self> {
        job.result.as_ref().map(|result| Self::Result(job.id, result.lease))
    }

    /// The job that it belongs to.
    pub fn job(self) -> JobId {
        match self {
            Self::Input(job) | Self::Mask(job) => job,
            Self::Result(job, _) | Self::Checkpoint(job) | Self::Preview(job) => job,
        }
    }

    /// Reads a name as [`fmt::Display`] writes it; none where it is nobody's.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name.split_once('/')? {
            ("inputs", job) => Some(Self::Input(job.parse().ok()?)),
            ("masks", job) => Some(Self::Mask(job.parse().ok()?)),
            ("checkpoints", job) => Some(Self::Checkpoint(job.parse().ok()?)),
            ("previews", job) => Some(Self::Preview(job.parse().ok()?)),
            ("results", name) => {
                let (job, lease) = name.rsplit_once('-')?;
                Some(Self::Result(job.parse().ok()?, lease.parse().ok()?))
            }
            _ => None,
        }
    }

    /// Every blob that belongs to a job.
    pub fn all_of(job: &Job) -> Vec<Self> {
        let own = [Self::Input(job.id), Self::Checkpoint(job.id), Self::Preview(job.id)];
        let mask = job.spec.mask.map(|_| Self::Mask(job.id));
        own.into_iter().chain(mask).chain(Self::result_of(job)).collect()
    }

    pub(super) fn path(self) -> object_store::path::Path {
        object_store::path::Path::from(self.to_string())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(job) => write!(f, "inputs/{job}"),
            Self::Mask(job) => write!(f, "masks/{job}"),
            Self::Checkpoint(job) => write!(f, "checkpoints/{job}"),
            Self::Preview(job) => write!(f, "previews/{job}"),
            Self::Result(job, lease) => write!(f, "results/{job}-{}", lease.simple()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let job = JobId::new();
        let own = [ObjectKey::Input(job), ObjectKey::Checkpoint(job), ObjectKey::Preview(job)];
        for key in own.into_iter().chain([ObjectKey::Result(job, Uuid::new_v4())]) {
            assert_eq!(ObjectKey::parse(&key.to_string()), Some(key));
        }
        for strange in ["", "inputs", "inputs/holiday.jpg", "results/holiday-1", "else/where"] {
            assert_eq!(ObjectKey::parse(strange), None, "{strange}");
        }
    }
}
