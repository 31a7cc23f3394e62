//! The job queue on SQLite: the default, for one server process with its own folder.
//!
//! All SQL of this dialect stands here. The database runs in WAL mode with `synchronous=FULL`, so that a
//! commit is on the disk when it returns: an accepted job survives a power cut. SQLite has one writer at a
//! time anyway, so all writes share one connection and queue up in front of it instead of failing with
//! `SQLITE_BUSY`; readers have connections of their own and never wait for a write.

mod row;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{
    Row, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use uuid::Uuid;

use super::{
    Beat, Claim, Counts, Erased, Event, Facts, Finished, Job, JobError, JobId, JobQueue, JobState, Lease,
    NewJob, QueueError, QueueOptions, Rescue, Rescued, Signals, retry_delay,
};
use crate::{clock::Timestamp, render::Progress};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a statement waits for another process's lock, such as that of a backup or of a person with a
/// database shell.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections for reading.
const READERS: u32 = 4;

/// A row with its place in the queue, which is there only for queued jobs.
const SELECT: &str = "
    SELECT jobs.*, CASE WHEN state = 'queued' THEN (
        SELECT count(*) FROM jobs AS ahead
        WHERE ahead.state = 'queued' AND (ahead.created_at, ahead.id) <= (jobs.created_at, jobs.id)
    ) END AS queue_position
    FROM jobs WHERE id = ?1";

/// Counts and inserts in one statement, so that no two requests can take the last place.
const ENQUEUE: &str = "
    INSERT INTO jobs (id, state, spec, not_before, created_at, updated_at, traceparent)
    SELECT ?1, 'queued', ?2, ?3, ?3, ?3, ?5
    WHERE (SELECT count(*) FROM jobs WHERE state = 'queued') < ?4";

/// The one transition that is written in SQL, because choosing a job and taking it must be one statement.
/// It does what [`Facts::next`] says of [`Event::Claimed`]; the contract suite compares the two.
const CLAIM: &str = "
    UPDATE jobs SET
        state = 'running', version = version + 1, attempt = attempt + 1, progress = NULL,
        worker = ?1, lease_token = ?2, lease_expires_at = ?3, started_at = ?4, updated_at = ?4
    WHERE id = (
        SELECT id FROM jobs WHERE state = 'queued' AND not_before <= ?4 ORDER BY created_at, id LIMIT 1
    )
    RETURNING *, NULL AS queue_position";

/// A beat without progress changes nothing that a client could see, so the version stays.
const BEAT: &str = "
    UPDATE jobs SET
        lease_expires_at = ?3, progress = coalesce(?4, progress), version = version + (?4 IS NOT NULL),
        updated_at = CASE WHEN ?4 IS NULL THEN updated_at ELSE ?5 END
    WHERE id = ?1 AND lease_token = ?2
    RETURNING cancel_requested";

/// Every other transition. The lease stays only with a job that goes on running; a job that goes back into
/// the queue forgets what its attempt had done.
const MOVE: &str = "
    UPDATE jobs SET
        state = ?2, version = version + 1, attempt = ?3, cancel_requested = ?4, not_before = ?5,
        worker = CASE WHEN ?2 = 'running' THEN worker END,
        lease_token = CASE WHEN ?2 = 'running' THEN lease_token END,
        lease_expires_at = CASE WHEN ?2 = 'running' THEN lease_expires_at END,
        started_at = CASE WHEN ?2 <> 'queued' THEN started_at END,
        progress = CASE WHEN ?2 <> 'queued' THEN coalesce(?6, progress) END,
        error = ?7, result = ?8, render_seconds = ?9,
        finished_at = CASE WHEN ?2 NOT IN ('queued', 'running') THEN ?10 END,
        updated_at = ?10
    WHERE id = ?1";

/// The pictures of finished jobs, given up after their time. Clients see it, so the version grows.
const GIVE_UP: &str = "
    UPDATE jobs SET erased_at = ?3, version = version + 1, updated_at = ?3
    WHERE id IN (
        SELECT id FROM jobs WHERE finished_at < ?1 AND finished_at IS NOT NULL AND erased_at IS NULL
        ORDER BY finished_at LIMIT ?2
    )
    RETURNING id, result";

/// The newest dreams by age of the job, which the index gives for nothing.
const RECENT: &str = "
    SELECT avg(finished_at - started_at) / 1000.0 FROM (
        SELECT started_at, finished_at FROM jobs WHERE state = 'succeeded'
        ORDER BY created_at DESC, id DESC LIMIT 20
    )";

/// See the module's description.
#[derive(Debug)]
pub struct SqliteQueue {
    writer: SqlitePool,
    readers: SqlitePool,
    /// For those who watch the service: one connection that nobody else takes.
    watcher: SqlitePool,
    options: QueueOptions,
    signals: Arc<Signals>,
}

/// What a transition writes besides the state.
#[derive(Default)]
struct Extras {
    not_before: Option<Timestamp>,
    error: Option<JobError>,
    finished: Option<Finished>,
}

impl SqliteQueue {
    /// Opens the database file, creating it and bringing its schema up to date where needed.
    ///
    /// # Errors
    /// When the file cannot be opened or is of a newer version.
    pub async fn open(file: &Path, options: QueueOptions) -> Result<Self, QueueError> {
        let connect = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(connect.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let read = connect.read_only(true).create_if_missing(false);
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(read.clone()).await?;
        let watcher = SqlitePoolOptions::new().max_connections(1).connect_with(read).await?;
        Ok(Self { writer, readers, watcher, options, signals: Arc::default() })
    }

    fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// Ends or gives back what a worker holds.
    async fn leave(&self, lease: Lease, event: Event, mut extras: Extras) -> Result<Job, QueueError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let held = sqlx::query(
            "SELECT id, state, attempt, cancel_requested FROM jobs WHERE id = ?1 AND lease_token = ?2",
        );
        let held = held.bind(lease.job.to_string()).bind(lease.token.to_string());
        let row = held.fetch_optional(&mut *transaction).await?.ok_or(QueueError::LeaseLost)?;
        let next = row::facts(&row)?.next(event, self.options.max_attempts)?;
        if next.state == JobState::Queued && matches!(event, Event::Failed { .. }) {
            extras.not_before = Some(self.now() + retry_delay(next.attempt));
        }
        self.store(&mut transaction, lease.job, next, extras).await?;
        let job = select(&mut transaction, lease.job).await?;
        transaction.commit().await?;
        if job.state == JobState::Queued {
            self.signals.work_is_there();
        }
        Ok(job)
    }

    /// Writes one transition.
    async fn store(
        &self,
        connection: &mut SqliteConnection,
        id: JobId,
        next: Facts,
        extras: Extras,
    ) -> Result<(), QueueError> {
        let now = self.now();
        let progress = extras.finished.as_ref().and_then(|finished| finished.progress);
        // An error is kept only where the job really ends with it.
        let error = extras.error.filter(|_| next.state == JobState::Failed);
        let result = extras.finished.as_ref().map(|finished| row::json(id, &finished.result)).transpose()?;
        sqlx::query(MOVE)
            .bind(id.to_string())
            .bind(next.state.as_str())
            .bind(next.attempt)
            .bind(next.cancel_requested)
            .bind(extras.not_before.unwrap_or(now).as_millis())
            .bind(progress.map(|progress| row::json(id, &progress)).transpose()?)
            .bind(error.map(|error| row::json(id, &error)).transpose()?)
            .bind(result)
            .bind(extras.finished.map(|finished| finished.render_seconds))
            .bind(now.as_millis())
            .execute(connection)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl JobQueue for SqliteQueue {
    async fn enqueue(&self, job: NewJob) -> Result<Job, QueueError> {
        let mut connection = self.writer.acquire().await?;
        let inserted = sqlx::query(ENQUEUE)
            .bind(job.id.to_string())
            .bind(row::json(job.id, &job.spec)?)
            .bind(self.now().as_millis())
            .bind(self.options.capacity)
            .bind(job.traceparent.map(|trace| trace.to_string()))
            .execute(&mut *connection)
            .await?;
        if inserted.rows_affected() == 0 {
            return Err(QueueError::Full { capacity: self.options.capacity });
        }
        self.signals.work_is_there();
        select(&mut connection, job.id).await
    }

    async fn get(&self, id: JobId) -> Result<Job, QueueError> {
        let mut connection = self.readers.acquire().await?;
        select(&mut connection, id).await
    }

    async fn claim(&self, worker: &str) -> Result<Option<Claim>, QueueError> {
        let (now, token) = (self.now(), Uuid::new_v4());
        let claimed = sqlx::query(CLAIM)
            .bind(worker)
            .bind(token.to_string())
            .bind((now + self.options.lease).as_millis())
            .bind(now.as_millis())
            .fetch_optional(&self.writer)
            .await?;
        let Some(row) = claimed else { return Ok(None) };
        let job = row::job(&row)?;
        let lease = Lease { job: job.id, token };
        Ok(Some(Claim { job, lease }))
    }

    async fn beat(&self, lease: Lease, progress: Option<Progress>) -> Result<Beat, QueueError> {
        let now = self.now();
        let row = sqlx::query(BEAT)
            .bind(lease.job.to_string())
            .bind(lease.token.to_string())
            .bind((now + self.options.lease).as_millis())
            .bind(progress.map(|progress| row::json(lease.job, &progress)).transpose()?)
            .bind(now.as_millis())
            .fetch_optional(&self.writer)
            .await?;
        let row = row.ok_or(QueueError::LeaseLost)?;
        Ok(Beat { cancel_requested: row.try_get("cancel_requested")? })
    }

    async fn complete(&self, lease: Lease, finished: Finished) -> Result<Job, QueueError> {
        let extras = Extras { finished: Some(finished), ..Extras::default() };
        self.leave(lease, Event::Completed, extras).await
    }

    async fn fail(&self, lease: Lease, error: JobError, retry: bool) -> Result<Job, QueueError> {
        let extras = Extras { error: Some(error), ..Extras::default() };
        self.leave(lease, Event::Failed { retry }, extras).await
    }

    async fn release(&self, lease: Lease) -> Result<Job, QueueError> {
        self.leave(lease, Event::Released, Extras::default()).await
    }

    async fn stopped(&self, lease: Lease) -> Result<Job, QueueError> {
        self.leave(lease, Event::Stopped, Extras::default()).await
    }

    async fn cancel(&self, id: JobId) -> Result<Job, QueueError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let job = select(&mut transaction, id).await?;
        let next = job.facts().next(Event::CancelRequested, self.options.max_attempts);
        let next = next.map_err(|impossible| QueueError::Finished(impossible.state))?;
        if next.state == job.state && job.cancel_requested {
            return Ok(job);
        }
        self.store(&mut transaction, id, next, Extras::default()).await?;
        let job = select(&mut transaction, id).await?;
        transaction.commit().await?;
        self.signals.cancel(id);
        Ok(job)
    }

    async fn rescue(&self, which: Rescue) -> Result<Vec<Rescued>, QueueError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let lost = sqlx::query(
            "SELECT id, state, attempt, cancel_requested FROM jobs
             WHERE state = 'running' AND (?1 OR lease_expires_at <= ?2) ORDER BY created_at, id",
        );
        let lost = lost.bind(which == Rescue::All).bind(self.now().as_millis());
        let mut rescued = Vec::new();
        for row in lost.fetch_all(&mut *transaction).await? {
            let (id, lost) = (row::job_id(&row)?, row::facts(&row)?);
            let next = lost.next(Event::LeaseExpired, self.options.max_attempts)?;
            let error = Some(JobError::attempts_exhausted(lost.attempt));
            let extras = Extras { error, ..Extras::default() };
            self.store(&mut transaction, id, next, extras).await?;
            rescued.push(Rescued { id, facts: next });
        }
        transaction.commit().await?;
        for _ in rescued.iter().filter(|rescued| rescued.facts.state == JobState::Queued) {
            self.signals.work_is_there();
        }
        Ok(rescued)
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        let rows = sqlx::query("SELECT state, count(*) AS jobs FROM jobs GROUP BY state");
        let mut counts = Counts::default();
        for row in rows.fetch_all(&self.watcher).await? {
            let jobs = row.try_get::<i64, _>("jobs")?.unsigned_abs();
            match row::state(&row)? {
                JobState::Queued => counts.queued = jobs,
                JobState::Running => counts.running = jobs,
                JobState::Succeeded => counts.succeeded = jobs,
                JobState::Failed => counts.failed = jobs,
                JobState::Canceled => counts.canceled = jobs,
                JobState::Expired => counts.expired = jobs,
            }
        }
        Ok(counts)
    }

    async fn ping(&self) -> Result<(), QueueError> {
        sqlx::query("SELECT id FROM jobs LIMIT 1").fetch_optional(&self.watcher).await?;
        Ok(())
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        let depth = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM jobs WHERE state = 'queued'");
        Ok(depth.fetch_one(&self.readers).await?.unsigned_abs())
    }

    async fn oldest_queued(&self) -> Result<Option<Timestamp>, QueueError> {
        let oldest =
            sqlx::query_scalar::<_, Option<i64>>("SELECT min(created_at) FROM jobs WHERE state = 'queued'");
        Ok(oldest.fetch_one(&self.watcher).await?.map(Timestamp::from_millis))
    }

    async fn give_up_pictures(&self, before: Timestamp, limit: u32) -> Result<Vec<Erased>, QueueError> {
        let given_up = sqlx::query(GIVE_UP).bind(before.as_millis()).bind(limit).bind(self.now().as_millis());
        given_up.fetch_all(&self.writer).await?.iter().map(row::erased).collect()
    }

    async fn ended_before(&self, before: Timestamp, limit: u32) -> Result<Vec<Erased>, QueueError> {
        let ended = sqlx::query(
            "SELECT id, result FROM jobs WHERE finished_at < ?1 AND finished_at IS NOT NULL
             ORDER BY finished_at LIMIT ?2",
        );
        let ended = ended.bind(before.as_millis()).bind(limit);
        ended.fetch_all(&self.readers).await?.iter().map(row::erased).collect()
    }

    async fn forget_ended(&self, ids: &[JobId]) -> Result<u64, QueueError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut forgotten = 0;
        for id in ids {
            let deleted = sqlx::query("DELETE FROM jobs WHERE id = ?1 AND finished_at IS NOT NULL");
            forgotten += deleted.bind(id.to_string()).execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        Ok(forgotten)
    }

    async fn recent_seconds(&self) -> Result<Option<f64>, QueueError> {
        Ok(sqlx::query_scalar(RECENT).fetch_one(&self.readers).await?)
    }

    fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    async fn close(&self) {
        self.watcher.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }
}

async fn select(connection: &mut SqliteConnection, id: JobId) -> Result<Job, QueueError> {
    let row = sqlx::query(SELECT).bind(id.to_string()).fetch_optional(connection).await?;
    row::job(&row.ok_or(QueueError::NotFound(id))?)
}
