//! Deliveries in SQLite.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::SqliteQueue;
use crate::{
    jobs::{
        ClaimedDelivery, Crowded, Delivery, DeliveryOutcome, DeliveryStore, JobId, QueueError,
        delivery_store::{
            LIST_DELIVERIES, bind_note, claim_delivery, delivery, note_delivery, replay_deliveries,
        },
        transition::millis,
    },
    keys::Tenant,
};

const IS_DUE: &str = "SELECT id FROM deliveries WHERE state = 'pending' AND due_at <= $1 LIMIT 1";
const CLAIM: &str = claim_delivery!(
    "$3",
    "receiver NOT IN (SELECT value FROM json_each($4)) AND tenant NOT IN (SELECT value FROM json_each($5))",
    ""
);
const NOTE: &str = note_delivery!("$7");
const REPLAY: &str = replay_deliveries!("$3");
const RELEASE: &str = "UPDATE deliveries SET claim = NULL, due_at = min(due_at, $1) WHERE state = 'pending' AND claim IS NOT NULL";

#[async_trait]
impl DeliveryStore for SqliteQueue {
    async fn claim_delivery(
        &self,
        except: &Crowded,
        lease: Duration,
    ) -> Result<Option<ClaimedDelivery>, QueueError> {
        let now = self.now().as_millis();
        // A read is free, while a write makes every other write wait.
        if sqlx::query(IS_DUE).bind(now).fetch_optional(&self.readers).await?.is_none() {
            return Ok(None);
        }
        let token = Uuid::new_v4();
        let [receivers, tenants] = [&except.receivers, &except.tenants]
            .map(|list| serde_json::Value::from(list.as_slice()).to_string());
        let mut transaction = self.writer.begin().await?;
        let claimed = sqlx::query(CLAIM).bind(token.to_string()).bind(millis(lease)).bind(now);
        let claimed = claimed.bind(receivers).bind(tenants);
        let Some(row) = claimed.fetch_optional(&mut *transaction).await? else { return Ok(None) };
        let delivery = delivery(&row)?;
        self.writer.commit(transaction).await?;
        Ok(Some(ClaimedDelivery { delivery, token }))
    }

    async fn note_delivery(
        &self,
        claimed: &ClaimedDelivery,
        outcome: DeliveryOutcome,
    ) -> Result<bool, QueueError> {
        let mut transaction = self.writer.begin().await?;
        let noted = bind_note!(NOTE, claimed, outcome, self.now().as_millis());
        let noted = noted.execute(&mut *transaction).await?.rows_affected() > 0;
        self.writer.commit(transaction).await?;
        Ok(noted)
    }

    async fn deliveries(&self, tenant: &Tenant, job: JobId) -> Result<Vec<Delivery>, QueueError> {
        let listed = sqlx::query(LIST_DELIVERIES).bind(job.to_string()).bind(tenant.as_str());
        listed.fetch_all(&self.readers).await?.iter().map(delivery).collect()
    }

    async fn replay_deliveries(&self, tenant: &Tenant, job: JobId) -> Result<(), QueueError> {
        let mut transaction = self.writer.begin().await?;
        let replayed = sqlx::query(REPLAY).bind(job.to_string()).bind(tenant.as_str());
        replayed.bind(self.now().as_millis()).execute(&mut *transaction).await?;
        self.writer.commit(transaction).await
    }

    async fn release_deliveries(&self) -> Result<(), QueueError> {
        let mut transaction = self.writer.begin().await?;
        sqlx::query(RELEASE).bind(self.now().as_millis()).execute(&mut *transaction).await?;
        self.writer.commit(transaction).await
    }
}
