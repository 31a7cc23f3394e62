//! Accepting many jobs with one commit.
//!
//! A commit waits for the disk, and whoever accepts must be alone while it counts what waits: SQLite has one writer,
//! and PostgreSQL one lock for this. One commit per job would bound how many are accepted by how often the disk syncs.
//! So one task takes whatever has arrived while the last commit was under way, and commits it together. Nobody is
//! answered before the commit that holds their job. What waits is counted once per commit.

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
    Idempotency, Job, JobId, NewJob, QueueError, UNKNOWN_SECONDS,
    row::{self, Columns},
};

/// Jobs per commit: so few that another writer does not wait long.
const BATCH: usize = 64;

/// Whoever hands a job in waits so long at most, the commit before theirs included. Their clients are told to come back
/// instead.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) type Answer = Result<Job, QueueError>;

/// What a commit did: an answer for each job, and the number that waits now.
pub(super) type Accepted = (Vec<Answer>, u64);

/// Where jobs are accepted.
#[async_trait]
pub(super) trait BatchInserter: Send + Sync + 'static {
    /// One transaction. Refusals write nothing and are answers; a store that fails is an error, and nothing is
    /// kept.
    async fn commit(&self, jobs: &[&NewJob]) -> Result<Accepted, QueueError>;
}

/// An open transaction of whoever alone may accept jobs.
#[async_trait]
pub(super) trait JobTransaction: Send {
    /// The job that has this key.
    async fn known(&mut self, idempotency: &Idempotency) -> Result<Option<JobId>, QueueError>;
    /// Counts.
    async fn waiting(&mut self) -> Result<Waiting, QueueError>;
    /// Writes a row and tells its rank; `None` where the row is there already.
    async fn insert(&mut self, job: &NewJob) -> Result<Option<(i64, Job)>, QueueError>;
    /// Looks a job up.
    async fn select(&mut self, id: JobId) -> Result<Job, QueueError>;
}

/// What waits.
pub(super) struct Waiting {
    pub jobs: u64,
    /// Predicted seconds of all of them, and of what is left of those that run.
    pub seconds: f64,
    /// Rank and id of the last.
    pub last: Option<(i64, JobId)>,
}

impl Waiting {
    /// From a row of [`sql::WAITING`](super::sql::WAITING) and one of [`sql::LAST`](super::sql::LAST).
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

/// Puts jobs in, as far as there is room.
pub(super) async fn accept(
    transaction_view: &mut dyn JobTransaction,
    jobs: &[&NewJob],
    capacity: u32,
) -> Result<Accepted, QueueError> {
    let mut waiting = transaction_view.waiting().await?;
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        match accept_one(transaction_view, &mut waiting, job, capacity).await {
            Err(error @ (QueueError::Store(_) | QueueError::Moved { .. })) => return Err(error),
            answer => answers.push(answer),
        }
    }
    Ok((answers, waiting.jobs))
}

/// Puts one job in, or finds the one that its key belongs to.
async fn accept_one(
    transaction_view: &mut dyn JobTransaction,
    waiting: &mut Waiting,
    new: &NewJob,
    capacity: u32,
) -> Answer {
    if let Some(idempotency) = &new.idempotency
        && let Some(known) = transaction_view.known(idempotency).await?
    {
        return transaction_view.select(known).await;
    }
    if waiting.jobs >= u64::from(capacity) {
        // It may have filled the last place itself, with a commit whose answer was lost.
        return match transaction_view.select(new.id).await {
            Err(QueueError::NotFound(_)) => Err(QueueError::Full { capacity }),
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
    waiting.seconds += new.forecast.map_or(UNKNOWN_SECONDS, |forecast| forecast.seconds);
    if !last {
        return transaction_view.select(new.id).await;
    }
    waiting.last = Some(place);
    (job.queue_position, job.seconds_ahead) = (Some(position), Some(seconds_ahead));
    Ok(job)
}

/// A job that wants in, and who waits for the answer.
struct Request {
    job: NewJob,
    answer: oneshot::Sender<Answer>,
}

impl Request {
    /// Whoever asked may have gone; the job stays.
    fn reply(self, outcome: Answer) {
        let _ = self.answer.send(outcome);
    }
}

/// The way in.
#[derive(Debug)]
pub(super) struct GroupCommit {
    requests: mpsc::Sender<Request>,
    waiting: Arc<AtomicU64>,
}

impl GroupCommit {
    /// Starts the task; it ends with the last handle.
    pub(super) fn start(inserter: impl BatchInserter) -> Self {
        let (requests, mut arrived) = mpsc::channel(BATCH);
        // Nothing is known yet, so that whoever asks looks for themselves.
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

    /// Jobs that waited after the last acceptance.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Hands a job in and waits until it is in the queue.
    pub(super) async fn enqueue(&self, job: NewJob) -> Answer {
        // The task ends only with the runtime, and every connection with it.
        let closed = || QueueError::Store(sqlx::Error::PoolClosed);
        let (answer, answered) = oneshot::channel();
        let handing_in = async {
            self.requests.send(Request { job, answer }).await.map_err(|_| closed())?;
            answered.await.map_err(|_| closed())?
        };
        timeout(PATIENCE, handing_in).await.unwrap_or(Err(QueueError::Store(sqlx::Error::PoolTimedOut)))
    }
}

/// All together, or each by itself where that fails: so that everyone hears what is wrong with their own. Where the store
/// is away they hear that.
async fn serve(inserter: &impl BatchInserter, counted: &AtomicU64, mut batch: Vec<Request>) {
    // They were told to come back, and would not expect it to be there before they do.
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
            Err(error) => debug!(%error, jobs = batch.len(), "jobs are accepted one by one"),
        }
    }
    for request in batch {
        let outcome = inserter.commit(&[&request.job]).await;
        // One answer per job is what a commit gives.
        let missing = || QueueError::Store(sqlx::Error::RowNotFound);
        request.reply(outcome.and_then(|(mut answers, waiting)| {
            counted.store(waiting, Ordering::Relaxed);
            answers.pop().unwrap_or(Err(missing()))
        }));
    }
}

/// Fills in [`sql::enqueue!`](super::sql).
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
            .bind(new.traceparent.map(|trace| trace.to_string()))
            .bind(forecast.map(|forecast| forecast.seconds))
            .bind(forecast.map(|forecast| forecast.reference_seconds))
            .bind(forecast.map(|forecast| forecast.memory as i64))
            .bind(forecast.map(|forecast| forecast.megapixel_iterations))
            .bind(key.map(|key| key.request.as_str()))
    }};
}

pub(super) use bind_new;
