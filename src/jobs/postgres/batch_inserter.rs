//! Accepts jobs in PostgreSQL. One lock makes the accepting transaction exclusive among all processes.
//!
//! The lock enforces the capacity: two replicas that count at the same time would both see the last free
//! place. The price is that all processes together accept one batch after the other, for the few milliseconds
//! of a commit; one commit takes up to 64 jobs. Claims, heartbeats and ends do not need the lock: they only
//! free places.

use std::time::Duration;

use async_trait::async_trait;
use backon::{ConstantBuilder, Retryable};
use sqlx::{PgConnection, PgPool};
use tokio::time::timeout;

use super::{ENQUEUE, select};
use crate::{
    jobs::{
        Idempotency, Job, JobId, NewJob, QueueError, QueueOptions,
        group_commit::{self, Accepted, BatchInserter, JobTransaction, Waiting, bind_new},
        row, sql, usage,
    },
    keys::Tenant,
};

/// Key of the lock; nothing else in this database uses it.
const LOCK: i64 = i64::from_be_bytes(*b"\0reverie");

/// Number of retries after a connection error, and the delay between them. It does not matter whether an
/// earlier try was committed: an existing row is found again.
const RETRIES: usize = 2;
const RETRY_DELAY: Duration = Duration::from_millis(300);

/// Longest time for all tries together: after it, the waiting client is gone.
const COMMIT_TIMEOUT: Duration = Duration::from_millis(4500);

/// Inserts batches of jobs.
pub(super) struct PostgresBatchInserter {
    pub pool: PgPool,
    pub options: QueueOptions,
}

#[async_trait]
impl BatchInserter for PostgresBatchInserter {
    async fn commit(&self, jobs: &[&NewJob]) -> Result<Accepted, QueueError> {
        let backoff = ConstantBuilder::new().with_delay(RETRY_DELAY).with_max_times(RETRIES);
        let tries = (|| self.try_commit(jobs)).retry(backoff).when(QueueError::is_down);
        timeout(COMMIT_TIMEOUT, tries).await.unwrap_or(Err(QueueError::Store(sqlx::Error::PoolTimedOut)))
    }
}

impl PostgresBatchInserter {
    async fn try_commit(&self, jobs: &[&NewJob]) -> Result<Accepted, QueueError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
        let now = self.options.clock.by_hand().map(|now| now.as_millis());
        let mut transaction_view = PostgresJobTransaction { connection: &mut transaction, now };
        let accepted = group_commit::accept(&mut transaction_view, jobs, &self.options).await?;
        transaction.commit().await?;
        Ok(accepted)
    }
}

struct PostgresJobTransaction<'a> {
    connection: &'a mut PgConnection,
    now: Option<i64>,
}

#[async_trait]
impl JobTransaction for PostgresJobTransaction<'_> {
    async fn known(
        &mut self,
        tenant: &Tenant,
        idempotency: &Idempotency,
    ) -> Result<Option<JobId>, QueueError> {
        let found = sqlx::query(sql::WITH_KEY).bind(&idempotency.key).bind(tenant.as_str());
        found
            .fetch_optional(&mut *self.connection)
            .await?
            .map(|row| row::known(&row, idempotency))
            .transpose()
    }

    async fn waiting_of(&mut self, tenant: &Tenant) -> Result<Waiting, QueueError> {
        let counted = sqlx::query(sql::WAITING_OF).bind(tenant.as_str());
        Waiting::read(&counted.fetch_one(&mut *self.connection).await?)
    }

    async fn stored_of(&mut self, tenant: &Tenant) -> Result<u64, QueueError> {
        let stored = sqlx::query(usage::STORED).bind(tenant.as_str());
        usage::stored(stored.fetch_optional(&mut *self.connection).await?.as_ref())
    }

    async fn depth(&mut self) -> Result<u64, QueueError> {
        let depth = sqlx::query_scalar::<_, i64>(sql::DEPTH).fetch_one(&mut *self.connection).await?;
        Ok(depth.unsigned_abs())
    }

    async fn insert(&mut self, job: &NewJob) -> Result<Option<Job>, QueueError> {
        let inserted = bind_new!(ENQUEUE, job, self.now).fetch_optional(&mut *self.connection).await?;
        inserted.map(|row| row::job(&row)).transpose()
    }

    async fn select(&mut self, id: JobId) -> Result<Job, QueueError> {
        select(&mut *self.connection, id).await
    }
}
