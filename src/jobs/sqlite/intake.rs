//! Accepting many jobs with one commit.
//!
//! A commit waits for the disk, and SQLite has one writer: one commit per job would bound how many are accepted by
//! how often the disk syncs. So one task takes whatever has arrived while the last commit was under way, and commits
//! it together. Nobody is answered before the commit that holds their job. What waits is counted once per commit:
//! nobody else writes in between.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sqlx::{Row, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::{known, row, select, sql};
use crate::jobs::{Idempotency, Job, NewJob, QueueError, QueueOptions, UNKNOWN_SECONDS};

/// Jobs per commit: so few that another writer does not wait long.
const BATCH: usize = 64;

type Answer = Result<Job, QueueError>;

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
pub(super) struct Intake {
    requests: mpsc::Sender<Request>,
    waiting: Arc<AtomicU64>,
}

impl Intake {
    /// Starts the task; it ends with the last handle.
    pub(super) fn start(writer: SqlitePool, options: QueueOptions) -> Self {
        let (requests, mut arrived) = mpsc::channel(BATCH);
        // Nothing is known yet, so that whoever asks looks for themselves.
        let waiting = Arc::new(AtomicU64::new(u64::MAX));
        let desk = Desk { writer, options, waiting: Arc::clone(&waiting) };
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while arrived.recv_many(&mut batch, BATCH).await > 0 {
                desk.accept(std::mem::take(&mut batch)).await;
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
        self.requests.send(Request { job, answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

/// Where jobs are accepted.
struct Desk {
    writer: SqlitePool,
    options: QueueOptions,
    waiting: Arc<AtomicU64>,
}

impl Desk {
    /// All together, or each by itself where that fails: so that everyone hears what is wrong with their own.
    async fn accept(&self, batch: Vec<Request>) {
        if batch.len() > 1 {
            let jobs: Vec<&NewJob> = batch.iter().map(|request| &request.job).collect();
            match self.commit(&jobs).await {
                Ok(outcomes) => {
                    batch.into_iter().zip(outcomes).for_each(|(request, outcome)| request.reply(outcome));
                    return;
                }
                Err(error) => debug!(%error, jobs = batch.len(), "jobs are accepted one by one"),
            }
        }
        for request in batch {
            let outcome = self.commit(&[&request.job]).await;
            // One answer per job is what a commit gives.
            let missing = || QueueError::Store(sqlx::Error::RowNotFound);
            request.reply(outcome.and_then(|mut outcomes| outcomes.pop().unwrap_or(Err(missing()))));
        }
    }

    /// One transaction. Refusals write nothing and are answers; a store that fails is an error, and nothing is
    /// kept.
    async fn commit(&self, jobs: &[&NewJob]) -> Result<Vec<Answer>, QueueError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut waiting = Waiting::count(&mut transaction).await?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            match self.insert(&mut transaction, &mut waiting, job).await {
                Err(error @ (QueueError::Store(_) | QueueError::Corrupt { .. })) => return Err(error),
                outcome => outcomes.push(outcome),
            }
        }
        transaction.commit().await?;
        self.waiting.store(waiting.jobs, Ordering::Relaxed);
        Ok(outcomes)
    }

    /// Puts one job in, or finds the one that its key belongs to.
    async fn insert(&self, connection: &mut SqliteConnection, waiting: &mut Waiting, new: &NewJob) -> Answer {
        if let Some(idempotency) = &new.idempotency
            && let Some(known) = known(connection, idempotency).await?
        {
            return select(connection, known).await;
        }
        let capacity = self.options.capacity;
        if waiting.jobs >= u64::from(capacity) {
            return Err(QueueError::Full { capacity });
        }
        let now = self.options.clock.now();
        let key = new.idempotency.as_ref().map(|Idempotency { key, fingerprint }| (key, fingerprint));
        let (key, fingerprint) = key.unzip();
        let forecast = new.forecast;
        let inserted = sqlx::query(sql::ENQUEUE)
            .bind(new.id.to_string())
            .bind(row::json(new.id, &new.spec)?)
            .bind(now.as_millis())
            .bind(new.options.priority)
            .bind(new.options.deadline.map(|deadline| (now + deadline).as_millis()))
            .bind(key)
            .bind(fingerprint)
            .bind(new.traceparent.map(|trace| trace.to_string()))
            .bind(forecast.map(|forecast| forecast.seconds))
            .bind(forecast.map(|forecast| forecast.reference_seconds))
            .bind(forecast.map(|forecast| forecast.memory as i64))
            .bind(forecast.map(|forecast| forecast.megapixel_iterations))
            .fetch_one(&mut *connection)
            .await?;
        let place = (inserted.try_get("rank")?, new.id.to_string());
        let mut job = row::job(&inserted)?;
        let own = forecast.map_or(UNKNOWN_SECONDS, |forecast| forecast.seconds);
        let (position, seconds_ahead) = (waiting.jobs + 1, waiting.seconds);
        let last = waiting.last.as_ref().is_none_or(|last| *last < place);
        waiting.jobs += 1;
        waiting.seconds += own;
        if !last {
            return select(connection, new.id).await;
        }
        waiting.last = Some(place);
        (job.queue_position, job.seconds_ahead) = (Some(position), Some(seconds_ahead));
        Ok(job)
    }
}

/// What waits.
struct Waiting {
    jobs: u64,
    /// Predicted seconds of all of them, and of what is left of those that run.
    seconds: f64,
    /// Rank and id of the last.
    last: Option<(i64, String)>,
}

impl Waiting {
    async fn count(connection: &mut SqliteConnection) -> Result<Self, QueueError> {
        let counted = sqlx::query(sql::WAITING).fetch_one(&mut *connection).await?;
        let last = sqlx::query_as(sql::LAST).fetch_optional(connection).await?;
        let jobs = counted.try_get::<i64, _>("jobs")?.unsigned_abs();
        Ok(Self { jobs, seconds: counted.try_get("seconds")?, last })
    }
}
