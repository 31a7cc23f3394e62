//! Accepts jobs in SQLite: an open write transaction is exclusive.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{ENQUEUE, select, writer::Writer};
use crate::{
    jobs::{
        Idempotency, Job, JobId, NewJob, QueueError, QueueOptions,
        group_commit::{self, Accepted, BatchInserter, JobTransaction, Waiting, bind_new},
        row, sql, usage,
    },
    keys::Tenant,
};

/// Inserts batches of jobs through the one write connection.
pub(super) struct SqliteBatchInserter {
    pub writer: Writer,
    pub options: QueueOptions,
}

#[async_trait]
impl BatchInserter for SqliteBatchInserter {
    async fn commit(&self, jobs: &[&NewJob]) -> Result<Accepted, QueueError> {
        let mut transaction = self.writer.begin().await?;
        let now = self.options.clock.now().as_millis();
        let mut transaction_view = SqliteJobTransaction { connection: &mut transaction, now };
        let accepted = group_commit::accept(&mut transaction_view, jobs, &self.options).await?;
        self.writer.commit(transaction).await?;
        Ok(accepted)
    }
}

struct SqliteJobTransaction<'a> {
    connection: &'a mut SqliteConnection,
    now: i64,
}

#[async_trait]
impl JobTransaction for SqliteJobTransaction<'_> {
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
        select(self.connection, id).await
    }
}
