//! Why a queue operation failed. Which faults of a database mean that it is full or away: `fault`.

use std::{io, path::PathBuf};

use super::{InvalidTransition, JobId, JobState, UploadId, fault::Fault};
use crate::keys::KeyId;

/// Why a queue operation failed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue is full.
    #[error("the queue is full: no more than {capacity} may wait")]
    Full {
        /// Capacity of the queue.
        capacity: u32,
    },
    /// The tenant has as many queued jobs as one tenant may have.
    #[error("{capacity} jobs of this tenant are waiting, which is its limit")]
    TenantFull {
        /// The limit.
        capacity: u32,
    },
    /// The queued jobs of the tenant would take longer than those of one tenant may.
    #[error(
        "the waiting jobs of this tenant would take more than {limit} predicted seconds, which is its limit"
    )]
    TenantSeconds {
        /// The limit.
        limit: u32,
    },
    /// The files of the tenant, with those of the new job, would take more than those of one tenant may.
    #[error(
        "the stored files of this tenant take {:.1} MB, and these would take {:.1} MB more; its limit is {:.1} MB: delete \
         jobs that are no longer needed; uploads expire by themselves", megabytes(*.used), megabytes(*.more), megabytes(*.limit)
    )]
    TenantBytes {
        /// The limit in bytes.
        limit: u64,
        /// What its files take.
        used: u64,
        /// What those of the new job would take.
        more: u64,
    },
    /// The tenant has as many uploads as one tenant may have.
    #[error("{limit} uploads of this tenant have not expired, which is its limit")]
    TenantUploads {
        /// The limit.
        limit: u32,
    },
    /// No upload of the tenant has this id, or it has expired.
    #[error("there is no upload {0}")]
    NoUpload(UploadId),
    /// No job has this id.
    #[error("there is no job {0}")]
    NotFound(JobId),
    /// No API key has this id.
    #[error("there is no key {0}")]
    NoKey(KeyId),
    /// The job has ended, and the operation needs a job that has not.
    #[error("the job is already {0}")]
    Finished(JobState),
    /// The idempotency key belongs to a different request.
    #[error("the idempotency key was already used for a different request")]
    KeyReused,
    /// The worker's lease is gone: the job ended or went to another worker. The worker must drop the job.
    #[error("the lease on the job is lost")]
    LeaseLost,
    /// The event does not fit the state: a bug in the calling code.
    #[error(transparent)]
    InvalidTransition(#[from] InvalidTransition),
    /// A row contains something that this version cannot read: a newer version wrote it.
    #[error("job {id} cannot be read by this version: {problem}")]
    Corrupt {
        /// Id as stored.
        id: String,
        /// What is wrong with the row.
        problem: String,
    },
    /// The file of an embedded database was deleted, moved or replaced. The last writes may be in neither
    /// file.
    #[error("the job database {} is not the file that was opened: {source}; put it back, or restart the server", file.display())]
    Moved {
        /// The file.
        file: PathBuf,
        /// What is at the path instead.
        source: io::Error,
    },
    /// The database failed or is unreachable.
    #[error("the job store failed: {0}")]
    Store(#[from] sqlx::Error),
    /// The database server is unusable at startup.
    #[error("the database {place} cannot be used: {source} (storage.database)")]
    Unreachable {
        /// Server and database name, without the password.
        place: String,
        /// Error of the driver.
        source: sqlx::Error,
    },
    /// A newer version changed the schema in a way that this version does not support.
    #[error(
        "the database is of a newer version of reverie: it has the breaking migration {found}, and this version knows \
         them up to {known}; use the newer version, or restore a backup"
    )]
    Newer {
        /// A migration that the database has.
        found: i64,
        /// The newest migration that this version knows.
        known: i64,
    },
    /// Processes that share a database disagree on a setting that must be equal.
    #[error(
        "{setting} is {here} in this configuration and {there} in the database, where all processes must agree on it: \
         make them equal, or run `reverie migrate` with the new value and then restart every process with it"
    )]
    Disagree {
        /// Name of the setting.
        setting: &'static str,
        /// Configured value.
        here: i64,
        /// Value in the database, stored by the process that started first.
        there: i64,
    },
    /// The schema migration failed.
    #[error("the job store cannot be migrated: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl QueueError {
    /// Whether the store has no space left to write.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if Fault::of(error) == Fault::Full)
    }

    /// Whether the store is unreachable or unusable now, as opposed to a bad request.
    pub fn is_down(&self) -> bool {
        match self {
            Self::Store(error) => Fault::of(error) == Fault::Down,
            Self::Unreachable { source, .. } => Fault::of(source) == Fault::Down,
            Self::Moved { .. } => true,
            _ => false,
        }
    }
}
