//! Accepts many jobs with one commit (group commit).
//!
//! A commit waits for the disk, and the transaction that accepts jobs must run alone while it counts the
//! queued ones: SQLite has one writer, and PostgreSQL one lock for this. With one commit per job, the disk's
//! sync rate would limit the accept rate. So one task takes all jobs that arrived during the last commit and
//! commits them together. Each client gets its answer after the commit that holds its job. The queued jobs
//! are counted once per commit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::debug;

use super::{
    Idempotency, Job, JobId, NewJob, QueueError, QueueOptions, TenantOptions, UNKNOWN_SECONDS, row::Columns,
};
use crate::keys::Tenant;

/// Jobs per commit: few enough that another writer does not wait long.
const BATCH: usize = 64;

/// Longest wait for an answer, including the commit before. After it the client is told to retry later.
const ENQUEUE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) type Answer = Result<Job, QueueError>;

/// The result of a commit: an answer per job, and the number of queued jobs.
pub(super) type Accepted = (Vec<Answer>, u64);

/// Commits batches of jobs to a store.
#[async_trait]
pub(super) trait BatchInserter: Send + Sync + 'static {
    /// Runs one transaction. A refusal is an answer and writes nothing; a failing store is an error, and
    /// nothing is kept.
    async fn commit(&self, jobs: &[&NewJob]) -> Result<Accepted, QueueError>;
}

/// An open transaction that holds the exclusive right to accept jobs.
#[async_trait]
pub(super) trait JobTransaction: Send {
    /// Returns the tenant's job with this key.
    async fn known(
        &mut self,
        tenant: &Tenant,
        idempotency: &Idempotency,
    ) -> Result<Option<JobId>, QueueError>;
    /// Counts the queued jobs of a tenant.
    async fn waiting_of(&mut self, tenant: &Tenant) -> Result<Waiting, QueueError>;
    /// Bytes that the files of a tenant take.
    async fn stored_of(&mut self, tenant: &Tenant) -> Result<u64, QueueError>;
    /// Counts the queued jobs of all tenants.
    async fn depth(&mut self) -> Result<u64, QueueError>;
    /// Inserts a row; `None` if it already exists.
    async fn insert(&mut self, job: &NewJob) -> Result<Option<Job>, QueueError>;
    /// Returns a job.
    async fn select(&mut self, id: JobId) -> Result<Job, QueueError>;
}

/// The queued jobs of a tenant.
pub(super) struct Waiting {
    pub jobs: u64,
    /// Their predicted seconds.
    pub seconds: f64,
}

impl Waiting {
    /// Reads a row of [`sql::WAITING_OF`](super::sql::WAITING_OF).
    pub(super) fn read(counted: &impl Columns) -> Result<Self, QueueError> {
        Ok(Self {
            jobs: counted.integer("jobs")?.unwrap_or_default().unsigned_abs(),
            seconds: counted.real("seconds")?.unwrap_or_default(),
        })
    }
}

/// Inserts jobs as far as the capacity allows.
pub(super) async fn accept(
    transaction_view: &mut dyn JobTransaction,
    jobs: &[&NewJob],
    options: &QueueOptions,
) -> Result<Accepted, QueueError> {
    let mut depth = transaction_view.depth().await?;
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        match accept_one(transaction_view, &mut depth, job, options).await {
            Err(error @ (QueueError::Store(_) | QueueError::Moved { .. })) => return Err(error),
            answer => answers.push(answer),
        }
    }
    Ok((answers, depth))
}

/// Inserts one job, or returns the one that its key belongs to.
async fn accept_one(
    transaction_view: &mut dyn JobTransaction,
    depth: &mut u64,
    new: &NewJob,
    options: &QueueOptions,
) -> Answer {
    if let Some(idempotency) = &new.idempotency
        && let Some(known) = transaction_view.known(&new.tenant, idempotency).await?
    {
        return transaction_view.select(known).await;
    }
    let mut full = None;
    if *depth >= u64::from(options.capacity) {
        full = Some(QueueError::Full { capacity: options.capacity });
    } else if options.tenants.bounds_waiting() {
        full = beyond(&transaction_view.waiting_of(&new.tenant).await?, new, &options.tenants);
    }
    if full.is_none() && options.tenants.stored_bytes.is_some() {
        full = beyond_store(transaction_view.stored_of(&new.tenant).await?, new, &options.tenants);
    }
    if let Some(full) = full {
        // The job itself may have filled the last place, in a commit whose answer was lost.
        return match transaction_view.select(new.id).await {
            Err(QueueError::NotFound(_)) => Err(full),
            found => found,
        };
    }
    let Some(job) = transaction_view.insert(new).await? else {
        return transaction_view.select(new.id).await;
    };
    *depth += 1;
    Ok(job)
}

/// Why a job would be refused, if it would: `depth` jobs are waiting, `waiting` of its tenant, whose files take `stored` bytes.
pub(super) fn refusal(
    depth: u64,
    waiting: &Waiting,
    stored: u64,
    new: &NewJob,
    options: &QueueOptions,
) -> Option<QueueError> {
    if depth >= u64::from(options.capacity) {
        return Some(QueueError::Full { capacity: options.capacity });
    }
    let tenants = &options.tenants;
    beyond(waiting, new, tenants).or_else(|| beyond_store(stored, new, tenants))
}

/// Why a tenant with these waiting jobs may not have another one. A job that is longer than the limit by itself may wait
/// alone: else it would never be let in.
fn beyond(waiting: &Waiting, new: &NewJob, options: &TenantOptions) -> Option<QueueError> {
    let seconds = waiting.seconds + seconds_of(new);
    match (options.capacity, options.waiting_seconds) {
        (Some(capacity), _) if waiting.jobs >= u64::from(capacity) => {
            Some(QueueError::TenantFull { capacity })
        }
        (_, Some(limit)) if waiting.jobs > 0 && seconds > f64::from(limit) => {
            Some(QueueError::TenantSeconds { limit })
        }
        _ => None,
    }
}

/// Why a tenant whose files take `used` bytes may not have those of another job stored.
fn beyond_store(used: u64, new: &NewJob, options: &TenantOptions) -> Option<QueueError> {
    let (limit, more) = (options.stored_bytes?, new.input_bytes);
    (used.saturating_add(more) > limit).then_some(QueueError::TenantBytes { limit, used, more })
}

/// Predicted seconds of a new job.
fn seconds_of(new: &NewJob) -> f64 {
    new.forecast.map_or(UNKNOWN_SECONDS, |forecast| forecast.seconds)
}

/// A job to insert, and the channel for the answer.
struct Request {
    job: NewJob,
    answer: oneshot::Sender<Answer>,
}

impl Request {
    /// Sends the answer. The receiver may be gone; the job stays.
    fn reply(self, outcome: Answer) {
        let _ = self.answer.send(outcome);
    }
}

/// Handle of the task that commits batches.
#[derive(Debug)]
pub(super) struct GroupCommit {
    requests: mpsc::Sender<Request>,
    waiting: Arc<AtomicU64>,
}

impl GroupCommit {
    /// Starts the task; it ends when the last handle is dropped.
    pub(super) fn start(inserter: impl BatchInserter) -> Self {
        let (requests, mut arrived) = mpsc::channel(BATCH);
        // Unknown at first, so [`GroupCommit::waiting`] makes its users count for themselves.
        let waiting = Arc::new(AtomicU64::new(u64::MAX));
        let counted = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while arrived.recv_many(&mut batch, BATCH).await > 0 {
                serve(&inserter, &counted, std::mem::take(&mut batch)).await;
            }
        });
        Self { requests, waiting }
    }

    /// Number of queued jobs after the last commit.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Submits a job and waits until it is in the queue.
    pub(super) async fn enqueue(&self, job: NewJob) -> Answer {
        // The task ends only with the runtime, which also closes every connection.
        let closed = || QueueError::Store(sqlx::Error::PoolClosed);
        let (answer, answered) = oneshot::channel();
        let submitted = async {
            self.requests.send(Request { job, answer }).await.map_err(|_| closed())?;
            answered.await.map_err(|_| closed())?
        };
        timeout(ENQUEUE_TIMEOUT, submitted).await.unwrap_or(Err(QueueError::Store(sqlx::Error::PoolTimedOut)))
    }
}

/// Commits the whole batch, or each job by itself if that fails, so each client learns what is wrong with its
/// own job. If the store is unreachable, all of them get that error.
async fn serve(inserter: &impl BatchInserter, counted: &AtomicU64, mut batch: Vec<Request>) {
    // Their clients were told to retry later, and do not expect the job before they do.
    batch.retain(|request| !request.answer.is_closed());
    // One transaction counts for its tenants in the order of their names: see `migrations/postgres/*_stored_bytes.sql`.
    batch.sort_by(|one, other| one.job.tenant.cmp(&other.job.tenant));
    if batch.len() > 1 {
        let jobs: Vec<&NewJob> = batch.iter().map(|request| &request.job).collect();
        match inserter.commit(&jobs).await {
            Ok((answers, waiting)) => {
                counted.store(waiting, Ordering::Relaxed);
                batch.into_iter().zip(answers).for_each(|(request, answer)| request.reply(answer));
                return;
            }
            Err(error) if error.is_down() => {
                let again = || QueueError::Store(sqlx::Error::Protocol(error.to_string()));
                return batch.into_iter().for_each(|request| request.reply(Err(again())));
            }
            Err(error) => {
                debug!(%error, jobs = batch.len(), "a batch failed; its jobs are committed one by one")
            }
        }
    }
    for request in batch {
        let outcome = inserter.commit(&[&request.job]).await;
        // A commit returns one answer per job.
        let missing = || QueueError::Store(sqlx::Error::RowNotFound);
        request.reply(outcome.and_then(|(mut answers, waiting)| {
            counted.store(waiting, Ordering::Relaxed);
            answers.pop().unwrap_or(Err(missing()))
        }));
    }
}

/// Binds the values of [`sql::enqueue!`](super::sql).
macro_rules! bind_new {
    ($statement:expr, $new:expr, $now:expr) => {{
        let new: &$crate::jobs::NewJob = $new;
        let key = new.idempotency.as_ref();
        let forecast = new.forecast;
        sqlx::query($statement)
            .bind(new.id.to_string())
            .bind($crate::jobs::row::json(new.id, &new.spec)?)
            .bind($now)
            .bind(i64::from(new.options.priority))
            .bind(new.options.deadline.map($crate::jobs::transition::millis))
            .bind(key.map(|key| key.key.as_str()))
            .bind(key.map(|key| key.fingerprint.as_str()))
            .bind(new.traceparent.as_ref().map(ToString::to_string))
            .bind(forecast.map(|forecast| forecast.seconds))
            .bind(forecast.map(|forecast| forecast.reference_seconds))
            .bind(forecast.map(|forecast| forecast.memory as i64))
            .bind(forecast.map(|forecast| forecast.megapixel_iterations))
            .bind(key.map(|key| key.request.as_str()))
            .bind(new.tenant.as_str())
            .bind(new.webhook.as_ref().map(|webhook| $crate::jobs::row::json(new.id, webhook)).transpose()?)
            .bind(new.input_bytes as i64)
    }};
}

pub(super) use bind_new;
