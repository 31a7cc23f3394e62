//! The job queue on SQLite: the default, for one server process with its own folder.
//!
//! What is SQLite's own stands here and in `sqlite/`; the statements are in `sql`. The database runs in WAL mode
//! with `synchronous=FULL`, so a commit is on the disk when it returns: an accepted job survives a power cut.
//! SQLite has one writer at a time anyway. So all writes share one connection and queue up in front of it,
//! instead of failing with `SQLITE_BUSY`. Readers have their own connections and never wait for a write.

mod batch_inserter;
mod claims;
mod delivery_store;
mod key_store;
mod operations_store;
mod read_cache;
mod reads;
mod schedule;
mod tile_store;
mod transitions;
mod upkeep;
mod upload_store;
mod usage;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{
    Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use batch_inserter::SqliteBatchInserter;
use read_cache::ReadCache;
use writer::Writer;

use super::{
    Begun, Claim, Counts, Erased, Event, Finished, Forecast, HeartbeatReply, Idempotency, Job, JobError,
    JobId, JobQueue, JobState, Lease, NewJob, Owner, Page, PageStart, QueueError, QueueOptions, Rescue,
    Rescued, Signals, UsageStore,
    group_commit::{self, GroupCommit, Waiting},
    places::{Place, PlaceCache},
    row, schema, sql,
    transition::{TransitionData, millis},
    unreadable::Unreadable,
};
use crate::{
    clock::{Clock, Timestamp},
    keys::Tenant,
};
use reverie_dream::progress::Progress;
use reverie_dream::spec::{Change, Precision};

/// How long a statement waits for another process's lock, for example of a backup or a database shell.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of read connections.
const READERS: u32 = 4;

const ENQUEUE: &str = sql::enqueue!("$3");
// The time, the tenant, no lock, which jobs to leave out.
const CLAIM: &str = sql::claim!("$4", "$6", "", "id NOT IN (SELECT value FROM json_each($5))");
const TURNS: &str = sql::turns!("$1", "id NOT IN (SELECT value FROM json_each($2))");

const HEARTBEAT: &str = sql::heartbeat!("$5");
const TRANSITION: &str = sql::transition!("$10");
const OVERDUE: &str = sql::overdue!("$1", "");
const OVERDUE_PAUSED: &str = sql::overdue_paused!("$1", "");
const LOST: &str = sql::lost!("$2", "");

/// See the module's description.
#[derive(Debug)]
pub struct SqliteQueue {
    writer: Writer,
    /// Accepts new jobs, many with one commit.
    group_commit: GroupCommit,
    readers: SqlitePool,
    /// Caches jobs that clients poll.
    cache: ReadCache,
    /// For monitoring: one connection that nothing else uses.
    watcher: SqlitePool,
    options: QueueOptions,
    signals: Arc<Signals>,
    unreadable: Unreadable,
    places: PlaceCache,
}

impl SqliteQueue {
    /// Opens the database file. Creates it and migrates its schema if needed.
    ///
    /// # Errors
    /// If the file cannot be opened, or a newer version changed it in a way that this one does not support.
    pub async fn open(file: &Path, options: QueueOptions) -> Result<Self, QueueError> {
        let connect = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let writer = Writer::open(file, &connect).await?;
        schema::beside_newer(&schema::SQLITE).run(writer.pool()).await.map_err(schema::failed)?;
        schema::check(&schema::SQLITE, &sqlx::query_as(schema::RUN).fetch_all(writer.pool()).await?)?;
        let read = connect.read_only(true).create_if_missing(false);
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(read.clone()).await?;
        let cache = ReadCache::new(read.clone());
        let watcher = SqlitePoolOptions::new().max_connections(1).connect_with(read).await?;
        let group_commit =
            GroupCommit::start(SqliteBatchInserter { writer: writer.clone(), options: options.clone() });
        let (signals, unreadable, places) = (Arc::default(), Unreadable::default(), PlaceCache::default());
        Ok(Self { writer, group_commit, readers, cache, watcher, options, signals, unreadable, places })
    }

    fn now(&self) -> Timestamp {
        self.options.clock.now()
    }
}

#[async_trait]
impl JobQueue for SqliteQueue {
    async fn enqueue(&self, job: NewJob) -> Result<Job, QueueError> {
        let job = self.group_commit.enqueue(job).await?;
        self.signals.work_is_there();
        // It is in the queue, whatever becomes of the look for its place.
        Ok(self.placed(job.clone()).await.unwrap_or(job))
    }

    async fn refusal(&self, job: &NewJob) -> Result<Option<QueueError>, QueueError> {
        let (depth, stored) = (self.depth().await?, self.stored_bytes(&job.tenant).await?);
        let waiting = sqlx::query(sql::WAITING_OF).bind(job.tenant.as_str()).fetch_one(&self.readers).await?;
        Ok(group_commit::refusal(depth, &Waiting::read(&waiting)?, stored, job, &self.options))
    }

    async fn next_place(&self, tenant: &Tenant, priority: i8) -> Result<Place, QueueError> {
        let now = self.now();
        Ok(self.places().await?.next(tenant.as_str(), now, priority))
    }

    async fn with_idempotency_key(&self, tenant: &Tenant, key: &str) -> Result<Option<JobId>, QueueError> {
        let found = sqlx::query(sql::WITH_KEY).bind(key).bind(tenant.as_str());
        let found = found.fetch_optional(&self.readers).await?;
        found.map(|row| row::job_id(&row)).transpose()
    }

    async fn repeated(&self, tenant: &Tenant, idempotency: &Idempotency) -> Result<Option<Job>, QueueError> {
        reads::repeated(self, tenant, idempotency).await
    }

    async fn list(
        &self,
        tenant: &Tenant,
        state: Option<JobState>,
        start: Option<PageStart>,
        limit: u32,
    ) -> Result<Page, QueueError> {
        reads::list(self, tenant, state, start, limit).await
    }

    async fn delete(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
        let mut transaction = self.writer.begin().await?;
        let job = select_of(&mut transaction, tenant, id).await?;
        let deleted = sqlx::query(sql::DELETE).bind(id.to_string()).bind(tenant.as_str());
        deleted.execute(&mut *transaction).await?;
        self.writer.commit(transaction).await?;
        self.signals.cancel(id);
        self.signals.changed(id);
        Ok(job)
    }

    async fn get(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
        reads::get(self, tenant, id).await
    }

    async fn refresh(&self, known: &[Arc<Job>]) -> Result<Vec<Job>, QueueError> {
        reads::refresh(self, known).await
    }

    async fn claim(&self, worker: &str) -> Result<Option<Claim>, QueueError> {
        self.take(worker).await
    }

    async fn heartbeat(
        &self,
        lease: Lease,
        progress: Option<Progress>,
    ) -> Result<HeartbeatReply, QueueError> {
        let mut transaction = self.writer.begin().await?;
        let row = sqlx::query(HEARTBEAT)
            .bind(lease.job.to_string())
            .bind(lease.token.to_string())
            .bind(millis(self.options.lease))
            .bind(progress.map(|progress| row::json(lease.job, &progress)).transpose()?)
            .bind(self.now().as_millis())
            .fetch_optional(&mut *transaction)
            .await?;
        let row = row.ok_or(QueueError::LeaseLost)?;
        self.writer.commit(transaction).await?;
        if progress.is_some() {
            self.signals.changed(lease.job);
        }
        Ok(HeartbeatReply {
            cancel_requested: row.try_get("cancel_requested")?,
            pause_requested: row.try_get("pause_requested")?,
        })
    }

    async fn set_preview(&self, lease: Lease, octave: u32, bytes: u64) -> Result<(), QueueError> {
        let mut transaction = self.writer.begin().await?;
        let noted = sqlx::query(sql::PREVIEW).bind(lease.job.to_string()).bind(lease.token.to_string());
        let noted = noted.bind(i64::from(octave)).bind(bytes as i64);
        if noted.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Err(QueueError::LeaseLost);
        }
        self.writer.commit(transaction).await?;
        self.signals.changed(lease.job);
        Ok(())
    }

    async fn decide_precision(&self, lease: Lease, wanted: Precision) -> Result<Precision, QueueError> {
        let mut transaction = self.writer.begin().await?;
        let decided = sqlx::query(sql::PRECISION).bind(lease.job.to_string()).bind(lease.token.to_string());
        let decided = decided.bind(wanted.as_str()).fetch_optional(&mut *transaction).await?;
        let decided = row::decided(&decided.ok_or(QueueError::LeaseLost)?, lease.job)?;
        self.writer.commit(transaction).await?;
        Ok(decided)
    }

    async fn begin(&self, lease: Lease, begun: Begun) -> Result<Vec<Change>, QueueError> {
        schedule::begin(self, lease, begun).await
    }

    async fn steer(&self, job: &Job, change: &Change, forecast: Forecast) -> Result<Option<Job>, QueueError> {
        schedule::steer(self, job, change, forecast).await
    }

    async fn complete(&self, lease: Lease, finished: Finished) -> Result<Job, QueueError> {
        let data = TransitionData { finished: Some(finished), ..TransitionData::default() };
        self.leave(lease, Event::Completed, data).await
    }

    async fn fail(&self, lease: Lease, error: JobError, retry: bool) -> Result<Job, QueueError> {
        let data = TransitionData { error: Some(error), ..TransitionData::default() };
        self.leave(lease, Event::Failed { retry }, data).await
    }

    async fn release(&self, lease: Lease) -> Result<Job, QueueError> {
        self.leave(lease, Event::Released, TransitionData::default()).await
    }

    async fn spare(&self, lease: Lease) -> Result<Job, QueueError> {
        self.leave(lease, Event::Released, TransitionData { spared: true, ..TransitionData::default() }).await
    }

    async fn stopped(&self, lease: Lease) -> Result<Job, QueueError> {
        self.leave(lease, Event::Stopped, TransitionData::default()).await
    }

    async fn expired(&self, lease: Lease) -> Result<Job, QueueError> {
        self.leave(lease, Event::DeadlinePassed, TransitionData::default()).await
    }

    async fn paused(&self, lease: Lease) -> Result<Job, QueueError> {
        self.leave(lease, Event::Paused, TransitionData::default()).await
    }

    async fn expire_waiting(&self) -> Result<Vec<JobId>, QueueError> {
        let now = self.now().as_millis();
        let mut expired = Vec::new();
        for overdue in [OVERDUE, OVERDUE_PAUSED] {
            // A read is free, while a write makes every other write wait.
            if sqlx::query(overdue).bind(now).fetch_optional(&self.readers).await?.is_none() {
                continue;
            }
            let mut transaction = self.writer.begin().await?;
            let overdue = sqlx::query(overdue).bind(now).fetch_all(&mut *transaction).await?;
            let ended = self.change_all(&mut transaction, &overdue, Event::DeadlinePassed).await?;
            self.writer.commit(transaction).await?;
            expired.extend(ended.iter().map(|job| job.id));
        }
        expired.iter().for_each(|id| self.signals.changed(*id));
        Ok(expired)
    }

    async fn cancel(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
        let job = self.request(tenant, id, Event::CancelRequested).await?;
        self.signals.cancel(id);
        Ok(job)
    }

    async fn pause(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
        let job = self.request(tenant, id, Event::PauseRequested).await?;
        self.signals.asked(id);
        Ok(job)
    }

    async fn resume(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
        self.request(tenant, id, Event::Resumed).await
    }

    async fn rescue(&self, which: Rescue) -> Result<Vec<Rescued>, QueueError> {
        let mut transaction = self.writer.begin().await?;
        let lost = sqlx::query(LOST).bind(which == Rescue::All).bind(self.now().as_millis());
        let lost = lost.fetch_all(&mut *transaction).await?;
        let rescued = self.change_all(&mut transaction, &lost, Event::LeaseExpired).await?;
        self.writer.commit(transaction).await?;
        for Rescued { id, snapshot } in &rescued {
            self.signals.changed(*id);
            if snapshot.state == JobState::Queued {
                self.signals.work_is_there();
            }
        }
        Ok(rescued)
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        row::counts(&sqlx::query(sql::COUNTS).fetch_all(&self.watcher).await?)
    }

    async fn ping(&self) -> Result<(), QueueError> {
        sqlx::query(sql::PING).fetch_optional(&self.watcher).await?;
        Ok(())
    }

    async fn probe(&self) -> Result<(), QueueError> {
        upkeep::probe(&self.writer, self.now()).await
    }

    async fn take_chore(&self, name: &str, every: Duration) -> Result<bool, QueueError> {
        upkeep::take_chore(&self.writer, name, every, self.now()).await
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        Ok(sqlx::query_scalar::<_, i64>(sql::DEPTH).fetch_one(&self.readers).await?.unsigned_abs())
    }

    async fn has_room(&self) -> Result<bool, QueueError> {
        // The last known count is good enough to admit a job, but not to refuse one.
        let capacity = u64::from(self.options.capacity);
        Ok(self.group_commit.waiting() < capacity || self.depth().await? < capacity)
    }

    async fn oldest_queued(&self) -> Result<Option<Timestamp>, QueueError> {
        let oldest = sqlx::query_scalar::<_, Option<i64>>(sql::OLDEST);
        Ok(oldest.fetch_one(&self.watcher).await?.map(Timestamp::from_millis))
    }

    async fn expire_blobs(&self, before: Timestamp, limit: u32) -> Result<Vec<Erased>, QueueError> {
        upkeep::expire_blobs(&self.writer, &self.unreadable, before, limit, self.now()).await
    }

    async fn blobs_to_delete(&self, behind: Option<JobId>, limit: u32) -> Result<Vec<Erased>, QueueError> {
        upkeep::blobs_to_delete(&self.readers, &self.unreadable, behind, limit).await
    }

    async fn blobs_deleted(&self, ids: &[JobId]) -> Result<(), QueueError> {
        upkeep::blobs_deleted(&self.writer, ids, self.now()).await
    }

    async fn owners(&self, ids: &[JobId]) -> Result<Vec<Owner>, QueueError> {
        upkeep::owners(&self.readers, ids).await
    }

    async fn ended_before(&self, before: Timestamp, limit: u32) -> Result<Vec<Erased>, QueueError> {
        upkeep::ended_before(&self.readers, &self.unreadable, before, limit).await
    }

    async fn purge(&self, ids: &[JobId]) -> Result<u64, QueueError> {
        upkeep::purge(&self.writer, ids).await
    }

    async fn backlog_seconds(&self) -> Result<f64, QueueError> {
        Ok(sqlx::query(sql::WAITING).fetch_one(&self.readers).await?.try_get("seconds")?)
    }

    fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    fn clock(&self) -> &Clock {
        &self.options.clock
    }

    async fn close(&self) {
        self.watcher.close().await;
        self.cache.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Reads a job as its tenant sees it.
async fn select_of(connection: &mut SqliteConnection, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
    let row = sqlx::query(sql::SELECT).bind(id.to_string()).bind(tenant.as_str());
    row::job(&row.fetch_optional(connection).await?.ok_or(QueueError::NotFound(id))?)
}

/// Reads a job that was found before, whichever tenant it belongs to.
async fn select(connection: &mut SqliteConnection, id: JobId) -> Result<Job, QueueError> {
    let row = sqlx::query(sql::SELECT_FOUND).bind(id.to_string()).fetch_optional(connection).await?;
    row::job(&row.ok_or(QueueError::NotFound(id))?)
}
