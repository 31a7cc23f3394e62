//! Reading the same jobs again and again, as pollers do: a job that was read is given out once more for as long as
//! nothing at all was written to the database.
//!
//! That is asked of SQLite with every read: `PRAGMA data_version` changes on a connection when any other one has
//! committed, in this process or another. So the answer is never older than the question. What is saved is
//! everything else: counting the jobs ahead, and reading the row.

use std::collections::HashMap;

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Mutex;

use crate::jobs::{Job, JobId, QueueError};

/// Jobs that are kept: more than that are not polled between two writes.
const KEPT: usize = 1024;

/// Number of a state of the database, as one connection counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(i64);

/// The jobs that were read, and the connection that tells whether they still are so.
#[derive(Debug)]
pub(super) struct Fresh {
    options: SqliteConnectOptions,
    known: Mutex<Option<Known>>,
}

/// Versions mean something to the connection that counts them, and to no other: they live and die together.
#[derive(Debug)]
struct Known {
    connection: SqliteConnection,
    version: Version,
    jobs: HashMap<JobId, Job>,
}

impl Fresh {
    /// Keeps nothing yet; `options` are those of a reader.
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self { options, known: Mutex::new(None) }
    }

    /// The job where it is known and still so. Otherwise the version before it is read, for [`Fresh::keep`].
    pub(super) async fn get(&self, id: JobId) -> Result<Result<Job, Version>, QueueError> {
        let mut guard = self.known.lock().await;
        // Taken out while it is used: what is left of a call that fails, or that nobody waits for any more, is a
        // new connection and nothing known.
        let mut known = match guard.take() {
            Some(known) => known,
            None => {
                Known { connection: self.options.connect().await?, version: Version(0), jobs: HashMap::new() }
            }
        };
        let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut known.connection).await?;
        if known.version != Version(version) {
            known.version = Version(version);
            known.jobs.clear();
        }
        let found = known.jobs.get(&id).cloned().ok_or(known.version);
        *guard = Some(known);
        Ok(found)
    }

    /// Keeps a job that was read after `version` was asked for. Where something was written since, it is dropped
    /// here, or with the next question.
    pub(super) async fn keep(&self, version: Version, job: &Job) {
        if let Some(known) = self.known.lock().await.as_mut().filter(|known| known.version == version) {
            if known.jobs.len() >= KEPT {
                known.jobs.clear();
            }
            known.jobs.insert(job.id, job.clone());
        }
    }

    /// Closes the connection.
    pub(super) async fn close(&self) {
        if let Some(known) = self.known.lock().await.take() {
            // Nothing was written on it.
            let _ = known.connection.close().await;
        }
    }
}
