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
    Idempotency, Job, JobId, NewJob, QueueError, QueueOptions, TenantOptions, UNKNOWN_SECONDS,
    row::{self, Columns},
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
    /// Counts the queued jobs.
    async fn waiting(&mut self) -> Result<Waiting, QueueError>;
    /// Inserts a row and returns its rank; `None` if the row already exists.
    async fn insert(&mut self, job: &NewJob) -> Result<Option<(i64, Job)>, QueueError>;
    /// Returns a job.
    async fn select(&mut self, id: JobId) -> Result<Job, QueueError>;
}

/// The state of the queue.
pub(super) struct Waiting {
    pub jobs: u64,
    /// Predicted seconds of all queued jobs, plus the rest of the running ones.
    pub seconds: f64,
    /// Rank and id of the last queued job.
    pub last: Option<(i64, JobId)>,
}

impl Waiting {
    /// Reads a row of [`sql::WAITING`](super::sql::WAITING) and one of [`sql::LAST`](super::sql::LAST).
    pub(super) fn read<R: Columns>(counted: &R, last: Option<&R>) -> Result<Self, QueueError> {
        let rank =
            |row: &R| Ok::<_, QueueError>((row.integer("rank")?.unwrap_or_default(), row::job_id(row)?));
        Ok(Self {
            jobs: counted.integer("jobs")?.unwrap_or_default().unsigned_abs(),
            seconds: counted.real("seconds")?.unwrap_or_default(),
            last: last.map(rank).transpose()?,
        })
    }
}

/// Inserts jobs as far as the capacity allows.
pub(super) async fn accept(
    transaction_view: &mut dyn JobTransaction,
    jobs: &[&NewJob],
    options: &QueueOptions,
) -> Result<Accepted, QueueError> {
    let mut waiting = transaction_view.waiting().await?;
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        match accept_one(transaction_view, &mut waiting, job, options).await {
            Err(error @ (QueueError::Store(_) | QueueError::Moved { .. })) => return Err(error),
            answer => answers.push(answer),
        }
    }
    Ok((answers, waiting.jobs))
}

/// Inserts one job, or returns the one that its key belongs to.
async fn accept_one(
    transaction_view: &mut dyn JobTransaction,
    waiting: &mut Waiting,
    new: &NewJob,
    options: &QueueOptions,
) -> Answer {
    if let Some(idempotency) = &new.idempotency
        && let Some(known) = transaction_view.known(&new.tenant, idempotency).await?
    {
        return transaction_view.select(known).await;
    }
    let mut full = None;
    if waiting.jobs >= u64::from(options.capacity) {
        full = Some(QueueError::Full { capacity: options.capacity });
    } else if options.tenants.bounds_waiting() {
        full = beyond(&transaction_view.waiting_of(&new.tenant).await?, new, &options.tenants);
    }
    if let Some(full) = full {
        // The job itself may have filled the last place, in a commit whose answer was lost.
        return match transaction_view.select(new.id).await {
            Err(QueueError::NotFound(_)) => Err(full),
            found => found,
        };
    }
    let Some((rank, mut job)) = transaction_view.insert(new).await? else {
        return transaction_view.select(new.id).await;
    };
    let place = (rank, new.id);
    let (position, seconds_ahead) = (waiting.jobs + 1, waiting.seconds);
    let last = waiting.last.is_none_or(|last| last < place);
    waiting.jobs += 1;
    waiting.seconds += seconds_of(new);
    if !last {
        return transaction_view.select(new.id).await;
    }
    waiting.last = Some(place);
    (job.queue_position, job.seconds_ahead) = (Some(position), Some(seconds_ahead));
    Ok(job)
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
    }};
}

pub(super) use bind_new;
