//! A read cache for jobs that clients poll. A cached job is valid until anything is written to the database.
//!
//! Every read asks SQLite: `PRAGMA data_version` changes on a connection when any other connection commits,
//! in this process or another. So an answer is never older than its request. The cache saves the rest: reading
//! the row, and finding its place.

use std::collections::HashMap;

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Mutex;

use crate::jobs::{Job, JobId, QueueError};

/// Capacity: clients do not poll more jobs than this between two writes.
const KEPT: usize = 1024;

/// Version of the database, as one connection counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(i64);

/// The cached jobs, and the connection that checks whether they are still valid.
#[derive(Debug)]
pub(super) struct ReadCache {
    options: SqliteConnectOptions,
    known: Mutex<Option<Known>>,
}

/// A version is valid only for the connection that counted it, so both are kept together.
#[derive(Debug)]
struct Known {
    connection: SqliteConnection,
    version: Version,
    jobs: HashMap<JobId, Job>,
}

impl ReadCache {
    /// An empty cache; `options` are those of a reader.
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self { options, known: Mutex::new(None) }
    }

    /// Returns the job if it is cached and still valid. Otherwise returns the current version, for
    /// [`ReadCache::keep`].
    pub(super) async fn get(&self, id: JobId) -> Result<Result<Job, Version>, QueueError> {
        let mut guard = self.known.lock().await;
        // Taken out while in use: after a failed or dropped call, the next one starts with a new connection
        // and an empty cache.
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

    /// Caches a job that was read after `version` was returned. If something was written since, the job is
    /// dropped here, or by the next read.
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
            // Nothing was written on this connection.
            let _ = known.connection.close().await;
        }
    }
}
