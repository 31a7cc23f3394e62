//! Accepts jobs in SQLite: an open write transaction is exclusive.

use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};

use super::{ENQUEUE, select, writer::Writer};
use crate::{
    jobs::{
        Idempotency, Job, JobId, NewJob, QueueError, QueueOptions,
        group_commit::{self, Accepted, BatchInserter, JobTransaction, Waiting, bind_new},
        row, sql,
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
        Waiting::read(&counted.fetch_one(&mut *self.connection).await?, None)
    }

    async fn waiting(&mut self) -> Result<Waiting, QueueError> {
        let counted = sqlx::query(sql::WAITING).fetch_one(&mut *self.connection).await?;
        let last = sqlx::query(sql::LAST).fetch_optional(&mut *self.connection).await?;
        Waiting::read(&counted, last.as_ref())
    }

    async fn insert(&mut self, job: &NewJob) -> Result<Option<(i64, Job)>, QueueError> {
        let inserted = bind_new!(ENQUEUE, job, self.now).fetch_optional(&mut *self.connection).await?;
        inserted.map(|row| Ok((row.try_get("rank")?, row::job(&row)?))).transpose()
    }

    async fn select(&mut self, id: JobId) -> Result<Job, QueueError> {
        select(self.connection, id).await
    }
}
