//! Accepting many jobs with one commit.
//!
//! A commit waits for the disk, and SQLite has one writer: one commit per job would bound how many are accepted by
//! how often the disk syncs. So one task takes whatever has arrived while the last commit was under way, and commits
//! it together. Nobody is answered before the commit that holds their job.

use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::{known, row, select, sql};
use crate::jobs::{Idempotency, Job, NewJob, QueueError, QueueOptions};

/// Jobs per commit: so few that another writer does not wait long.
const BATCH: usize = 64;

type Answer = Result<Job, QueueError>;

/// A job that wants in, and who waits for the answer.
struct Request {
    job: NewJob,
    answer: oneshot::Sender<Answer>,
}

/// The way in.
#[derive(Debug)]
pub(super) struct Intake(mpsc::Sender<Request>);

impl Intake {
    /// Starts the task; it ends with the last handle.
    pub(super) fn start(writer: SqlitePool, options: QueueOptions) -> Self {
        let (requests, mut arrived) = mpsc::channel(BATCH);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while arrived.recv_many(&mut batch, BATCH).await > 0 {
                accept(&writer, &options, std::mem::take(&mut batch)).await;
            }
        });
        Self(requests)
    }

    /// Hands a job in and waits until it is in the queue.
    pub(super) async fn enqueue(&self, job: NewJob) -> Answer {
        // The task ends only with the runtime, and every connection with it.
        let closed = || QueueError::Store(sqlx::Error::PoolClosed);
        let (answer, answered) = oneshot::channel();
        self.0.send(Request { job, answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

/// All together, or each by itself where that fails: so that everyone hears what is wrong with their own.
async fn accept(writer: &SqlitePool, options: &QueueOptions, batch: Vec<Request>) {
    if batch.len() > 1 {
        let jobs: Vec<&NewJob> = batch.iter().map(|request| &request.job).collect();
        match commit(writer, options, &jobs).await {
            Ok(outcomes) => {
                batch.into_iter().zip(outcomes).for_each(|(request, outcome)| reply(request.answer, outcome));
                return;
            }
            Err(error) => debug!(%error, jobs = batch.len(), "jobs are accepted one by one"),
        }
    }
    for Request { job, answer } in batch {
        let outcome = commit(writer, options, &[&job]).await;
        reply(answer, outcome.and_then(|mut outcomes| outcomes.pop().unwrap_or(Err(lost()))));
    }
}

/// Whoever asked may have gone; the job stays.
fn reply(answer: oneshot::Sender<Answer>, outcome: Answer) {
    let _ = answer.send(outcome);
}

/// One answer per job is what [`commit`] gives.
fn lost() -> QueueError {
    QueueError::Store(sqlx::Error::RowNotFound)
}

/// One transaction. Refusals write nothing and are answers; a store that fails is an error, and nothing is kept.
async fn commit(
    writer: &SqlitePool,
    options: &QueueOptions,
    jobs: &[&NewJob],
) -> Result<Vec<Answer>, QueueError> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        match insert(&mut transaction, options, job).await {
            Err(error @ (QueueError::Store(_) | QueueError::Corrupt { .. })) => return Err(error),
            outcome => outcomes.push(outcome),
        }
    }
    transaction.commit().await?;
    Ok(outcomes)
}

/// Puts one job in, or finds the one that its key belongs to.
async fn insert(connection: &mut SqliteConnection, options: &QueueOptions, job: &NewJob) -> Answer {
    if let Some(idempotency) = &job.idempotency
        && let Some(known) = known(connection, idempotency).await?
    {
        return select(connection, known).await;
    }
    let now = options.clock.now();
    let key = job.idempotency.as_ref().map(|Idempotency { key, fingerprint }| (key, fingerprint));
    let (key, fingerprint) = key.unzip();
    let forecast = job.forecast;
    let inserted = sqlx::query(sql::ENQUEUE)
        .bind(job.id.to_string())
        .bind(row::json(job.id, &job.spec)?)
        .bind(now.as_millis())
        .bind(options.capacity)
        .bind(job.options.priority)
        .bind(job.options.deadline.map(|deadline| (now + deadline).as_millis()))
        .bind(key)
        .bind(fingerprint)
        .bind(job.traceparent.map(|trace| trace.to_string()))
        .bind(forecast.map(|forecast| forecast.seconds))
        .bind(forecast.map(|forecast| forecast.reference_seconds))
        .bind(forecast.map(|forecast| forecast.memory as i64))
        .bind(forecast.map(|forecast| forecast.megapixel_iterations))
        .execute(&mut *connection)
        .await?;
    if inserted.rows_affected() == 0 {
        return Err(QueueError::Full { capacity: options.capacity });
    }
    select(connection, job.id).await
}
