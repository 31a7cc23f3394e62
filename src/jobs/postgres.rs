//! The job queue on PostgreSQL: for many processes on many machines.
//!
//! Every claim, heartbeat and end is one short statement; a running job holds no database resources. A claim
//! skips rows that other processes are claiming (`FOR UPDATE SKIP LOCKED`). A transition is written only if
//! the row still matches the snapshot that the rules were applied to, and still has the writer's lease;
//! otherwise the row is read again. The statements take all times from the database server, so machines whose
//! clocks differ agree on every lease and deadline. Only a clock that a test drives by hand is passed as a
//! value.
//!
//! `FOR UPDATE SKIP LOCKED` and `NOTIFY` need a real connection each: see `docs/operations/scale.md` on PgBouncer.

mod batch_inserter;
mod claims;
mod connect;
mod delivery_store;
mod key_store;
mod notifier;
mod operations_store;
mod reads;
mod schedule;
mod tile_store;
mod transitions;
mod turns;
mod upkeep;
mod upload_store;
mod usage;
mod vacuum;
mod workers;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{PgConnection, PgPool, Row};
use tokio::task::JoinSet;
use uuid::Uuid;

use batch_inserter::PostgresBatchInserter;
use notifier::Notifier;
use turns::TurnCache;

use super::{
    Begun, Claim, Counts, Erased, Event, Finished, Forecast, HeartbeatReply, Idempotency, Job, JobError,
    JobId, JobQueue, JobState, Lease, NewJob, Owner, Page, PageStart, QueueError, QueueOptions, Rescue,
    Rescued, Signals, UsageStore, WorkerReport,
    group_commit::{self, GroupCommit, Waiting},
    places::{Place, PlaceCache},
    row, sql,
    transition::{TransitionData, millis},
    unreadable::Unreadable,
};
use crate::{
    clock::{Clock, Timestamp},
    config::PostgresUrl,
    keys::Tenant,
};
use reverie_dream::progress::Progress;
use reverie_dream::spec::{Change, Precision};

const ENQUEUE: &str = sql::enqueue!("reverie_now($3)");
const CLAIM: &str = sql::claim!("reverie_now($4)", "$6", "FOR UPDATE SKIP LOCKED", "id <> ALL($5)");
const TURNS: &str = sql::turns!("reverie_now($1)", "id <> ALL($2)");

/// Timeout of a client's query, so all clients get an answer soon while the database server is down.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

const HEARTBEAT: &str = sql::heartbeat!("reverie_now($5)");
const TRANSITION: &str = sql::transition!("reverie_now($10)");
/// Whether there are overdue jobs, and which: of those that wait, and of those that are paused.
const OVERDUE: [(&str, &str); 2] = [
    (
        sql::overdue!("reverie_now($1)", "LIMIT 1"),
        sql::overdue!("reverie_now($1)", "ORDER BY tenant, created_at, id FOR UPDATE SKIP LOCKED"),
    ),
    (
        sql::overdue_paused!("reverie_now($1)", "LIMIT 1"),
        sql::overdue_paused!("reverie_now($1)", "ORDER BY tenant, created_at, id FOR UPDATE SKIP LOCKED"),
    ),
];
const LOST: &str = sql::lost!("reverie_now($2)", "FOR UPDATE SKIP LOCKED");

/// See the module's description.
#[derive(Debug)]
pub struct PostgresQueue {
    pool: PgPool,
    /// For monitoring: one connection that nothing else uses.
    watcher: PgPool,
    /// Accepts new jobs, many with one commit.
    group_commit: GroupCommit,
    notifier: Notifier,
    options: QueueOptions,
    clock: Clock,
    unreadable: Unreadable,
    places: PlaceCache,
    turns: Arc<TurnCache>,
    /// Id of this process, new at every start.
    process: Uuid,
    /// Background tasks; they end with the queue.
    _tasks: JoinSet<()>,
}

impl PostgresQueue {
    /// Opens a database and migrates its schema if needed. Uses at most `connections` connections, one for the
    /// notifier and one for monitoring. Another one is open for a moment while it vacuums.
    ///
    /// # Errors
    /// If the database is unreachable or of a newer version, or if other processes use it with other
    /// settings.
    pub async fn open(
        url: &PostgresUrl,
        connections: u32,
        options: QueueOptions,
    ) -> Result<Self, QueueError> {
        let first = connect::migrate(url).await?;
        connect::agree(&first, &options).await?;
        let clock = connect::clock(&first, &options).await?;
        first.close().await;
        let connect = connect::options(url)?;
        let (pool, watcher) = (connect::pool(&connect, connections), connect::pool(&connect, 1));
        let group_commit =
            GroupCommit::start(PostgresBatchInserter { pool: pool.clone(), options: options.clone() });
        let turns = Arc::<TurnCache>::default();
        let (notifier, process, mut tasks) = (Notifier::new(&turns), Uuid::new_v4(), JoinSet::new());
        tasks.spawn(notifier.clone().send(pool.clone(), process));
        tasks.spawn(vacuum::run(pool.clone(), connect.clone()));
        tasks.spawn(notifier.clone().receive(connect, process, clock.clone()));
        let (unreadable, places) = (Unreadable::default(), PlaceCache::default());
        Ok(Self {
            pool,
            watcher,
            group_commit,
            notifier,
            options,
            clock,
            unreadable,
            places,
            turns,
            process,
            _tasks: tasks,
        })
    }

    /// Migrates the schema and makes the settings in `options` those of all processes. Returns the changed
    /// settings with their old and new values.
    ///
    /// # Errors
    /// Like [`PostgresQueue::open`].
    pub async fn migrate(
        url: &PostgresUrl,
        options: &QueueOptions,
    ) -> Result<Vec<(&'static str, i64, i64)>, QueueError> {
        let first = connect::migrate(url).await?;
        let changed = connect::impose(&first, options).await?;
        first.close().await;
        Ok(changed)
    }

    /// The time to pass to the statements; `None` for the server's clock.
    fn now(&self) -> Option<i64> {
        self.options.clock.by_hand().map(Timestamp::as_millis)
    }
}

#[async_trait]
impl JobQueue for PostgresQueue {
    async fn enqueue(&self, job: NewJob) -> Result<Job, QueueError> {
        let job = self.group_commit.enqueue(job).await?;
        self.notifier.work_of(job.tenant.as_str());
        // It is in the queue, whatever becomes of the look for its place.
        Ok(self.placed(job.clone()).await.unwrap_or(job))
    }

    async fn refusal(&self, job: &NewJob) -> Result<Option<QueueError>, QueueError> {
        let (depth, stored) = (self.depth().await?, self.stored_bytes(&job.tenant).await?);
        let waiting = sqlx::query(sql::WAITING_OF).bind(job.tenant.as_str()).fetch_one(&self.pool);
        let waiting = Waiting::read(&in_time(waiting).await?)?;
        Ok(group_commit::refusal(depth, &waiting, stored, job, &self.options))
    }

    async fn next_place(&self, tenant: &Tenant, priority: i8) -> Result<Place, QueueError> {
        let now = self.clock.now();
        Ok(self.places().await?.next(tenant.as_str(), now, priority))
    }

    async fn with_idempotency_key(&self, tenant: &Tenant, key: &str) -> Result<Option<JobId>, QueueError> {
        let found =
            in_time(sqlx::query(sql::WITH_KEY).bind(key).bind(tenant.as_str()).fetch_optional(&self.pool))
                .await?;
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
        let mut transaction = self.pool.begin().await?;
        let locked = sqlx::query("SELECT id FROM jobs WHERE id = $1 AND tenant = $2 FOR UPDATE");
        let locked = locked.bind(id.to_string()).bind(tenant.as_str());
        locked.fetch_optional(&mut *transaction).await?.ok_or(QueueError::NotFound(id))?;
        let job = select(&mut transaction, id).await?;
        let deleted = sqlx::query(sql::DELETE).bind(id.to_string()).bind(tenant.as_str());
        deleted.execute(&mut *transaction).await?;
        transaction.commit().await?;
        self.notifier.cancel(id);
        self.notifier.changed(id);
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
        let row = sqlx::query(HEARTBEAT)
            .bind(lease.job.to_string())
            .bind(lease.token.to_string())
            .bind(millis(self.options.lease))
            .bind(progress.map(|progress| row::json(lease.job, &progress)).transpose()?)
            .bind(self.now())
            .fetch_optional(&self.pool)
            .await?;
        let row = row.ok_or(QueueError::LeaseLost)?;
        if progress.is_some() {
            self.notifier.changed(lease.job);
        }
        Ok(HeartbeatReply {
            cancel_requested: row.try_get("cancel_requested")?,
            pause_requested: row.try_get("pause_requested")?,
        })
    }

    async fn set_preview(&self, lease: Lease, octave: u32, bytes: u64) -> Result<(), QueueError> {
        let noted = sqlx::query(sql::PREVIEW).bind(lease.job.to_string()).bind(lease.token.to_string());
        let noted = noted.bind(i64::from(octave)).bind(bytes as i64);
        if noted.execute(&self.pool).await?.rows_affected() == 0 {
            return Err(QueueError::LeaseLost);
        }
        self.notifier.changed(lease.job);
        Ok(())
    }

    async fn decide_precision(&self, lease: Lease, wanted: Precision) -> Result<Precision, QueueError> {
        let decided = sqlx::query(sql::PRECISION).bind(lease.job.to_string()).bind(lease.token.to_string());
        let decided = decided.bind(wanted.as_str()).fetch_optional(&self.pool).await?;
        row::decided(&decided.ok_or(QueueError::LeaseLost)?, lease.job)
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
        let mut expired = Vec::new();
        for (is_overdue, overdue) in OVERDUE {
            // Every process checks each second, and seldom finds anything.
            if sqlx::query(is_overdue).bind(self.now()).fetch_optional(&self.pool).await?.is_none() {
                continue;
            }
            let mut transaction = self.pool.begin().await?;
            let overdue = sqlx::query(overdue).bind(self.now()).fetch_all(&mut *transaction).await?;
            let ended = self.change_all(&mut transaction, &overdue, Event::DeadlinePassed).await?;
            transaction.commit().await?;
            self.notify_all(&ended);
            expired.extend(ended.iter().map(|job| job.id));
        }
        Ok(expired)
    }

    async fn cancel(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
        let job = self.request(tenant, id, Event::CancelRequested).await?;
        self.notifier.cancel(id);
        Ok(job)
    }

    async fn pause(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
        let job = self.request(tenant, id, Event::PauseRequested).await?;
        self.notifier.asked(id);
        Ok(job)
    }

    async fn resume(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
        self.request(tenant, id, Event::Resumed).await
    }

    async fn rescue(&self, which: Rescue) -> Result<Vec<Rescued>, QueueError> {
        let mut transaction = self.pool.begin().await?;
        let lost = sqlx::query(LOST).bind(which == Rescue::All).bind(self.now());
        let lost = lost.fetch_all(&mut *transaction).await?;
        let rescued = self.change_all(&mut transaction, &lost, Event::LeaseExpired).await?;
        transaction.commit().await?;
        self.notify_all(&rescued);
        Ok(rescued)
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        row::counts(&in_time(sqlx::query(sql::COUNTS).fetch_all(&self.watcher)).await?)
    }

    async fn ping(&self) -> Result<(), QueueError> {
        sqlx::query(sql::PING).fetch_optional(&self.watcher).await?;
        Ok(())
    }

    async fn probe(&self) -> Result<(), QueueError> {
        upkeep::probe(&self.watcher, self.now()).await
    }

    async fn take_chore(&self, name: &str, every: Duration) -> Result<bool, QueueError> {
        upkeep::take_chore(&self.pool, name, every, self.now()).await
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        let depth = sqlx::query_scalar::<_, i64>(sql::DEPTH).fetch_one(&self.pool);
        Ok(in_time(depth).await?.unsigned_abs())
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
        upkeep::expire_blobs(&self.pool, &self.unreadable, before, limit, self.now()).await
    }

    async fn blobs_to_delete(&self, behind: Option<JobId>, limit: u32) -> Result<Vec<Erased>, QueueError> {
        upkeep::blobs_to_delete(&self.pool, &self.unreadable, behind, limit).await
    }

    async fn blobs_deleted(&self, ids: &[JobId]) -> Result<(), QueueError> {
        upkeep::blobs_deleted(&self.pool, ids, self.now()).await
    }

    async fn owners(&self, ids: &[JobId]) -> Result<Vec<Owner>, QueueError> {
        upkeep::owners(&self.pool, ids).await
    }

    async fn ended_before(&self, before: Timestamp, limit: u32) -> Result<Vec<Erased>, QueueError> {
        upkeep::ended_before(&self.pool, &self.unreadable, before, limit).await
    }

    async fn purge(&self, ids: &[JobId]) -> Result<u64, QueueError> {
        upkeep::purge(&self.pool, ids).await
    }

    async fn backlog_seconds(&self) -> Result<f64, QueueError> {
        Ok(in_time(sqlx::query(sql::WAITING).fetch_one(&self.pool)).await?.try_get("seconds")?)
    }

    async fn report(&self, report: &WorkerReport) -> Result<(), QueueError> {
        workers::report(&self.watcher, self.process, report, self.now()).await
    }

    async fn worker_reports(&self) -> Result<Vec<WorkerReport>, QueueError> {
        workers::recent(&self.watcher, self.now()).await
    }

    fn signals(&self) -> &Arc<Signals> {
        self.notifier.signals()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    async fn close(&self) {
        self.watcher.close().await;
        self.pool.close().await;
    }
}

/// Applies the client timeout: a database server that hangs in the middle of an answer sends no error.
async fn in_time<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, QueueError> {
    let answered = tokio::time::timeout(CLIENT_TIMEOUT, asked).await;
    Ok(answered.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
}

/// Reads a job that was found before, whichever tenant it belongs to.
async fn select(connection: &mut PgConnection, id: JobId) -> Result<Job, QueueError> {
    let row = sqlx::query(sql::SELECT_FOUND).bind(id.to_string()).fetch_optional(connection).await?;
    row::job(&row.ok_or(QueueError::NotFound(id))?)
}
