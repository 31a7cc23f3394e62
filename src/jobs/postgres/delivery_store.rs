//! Deliveries in PostgreSQL. Several processes deliver; each skips the rows that another is claiming.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{PostgresQueue, in_time};
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

const CLAIM: &str =
    claim_delivery!("reverie_now($3)", "receiver <> ALL($4) AND tenant <> ALL($5)", "FOR UPDATE SKIP LOCKED");
const NOTE: &str = note_delivery!("reverie_now($7)");
const REPLAY: &str = replay_deliveries!("reverie_now($3)");

#[async_trait]
impl DeliveryStore for PostgresQueue {
    async fn claim_delivery(
        &self,
        except: &Crowded,
        lease: Duration,
    ) -> Result<Option<ClaimedDelivery>, QueueError> {
        let token = Uuid::new_v4();
        let claimed = sqlx::query(CLAIM).bind(token.to_string()).bind(millis(lease)).bind(self.now());
        let claimed = claimed.bind(&except.receivers).bind(&except.tenants).fetch_optional(&self.pool);
        let claimed = in_time(claimed).await?.map(|row| delivery(&row)).transpose()?;
        Ok(claimed.map(|delivery| ClaimedDelivery { delivery, token }))
    }

    async fn note_delivery(
        &self,
        claimed: &ClaimedDelivery,
        outcome: DeliveryOutcome,
    ) -> Result<bool, QueueError> {
        let noted = bind_note!(NOTE, claimed, outcome, self.now());
        Ok(in_time(noted.execute(&self.pool)).await?.rows_affected() > 0)
    }

    async fn deliveries(&self, tenant: &Tenant, job: JobId) -> Result<Vec<Delivery>, QueueError> {
        let listed = sqlx::query(LIST_DELIVERIES).bind(job.to_string()).bind(tenant.as_str());
        in_time(listed.fetch_all(&self.pool)).await?.iter().map(delivery).collect()
    }

    async fn replay_deliveries(&self, tenant: &Tenant, job: JobId) -> Result<(), QueueError> {
        let replayed = sqlx::query(REPLAY).bind(job.to_string()).bind(tenant.as_str());
        in_time(replayed.bind(self.now()).execute(&self.pool)).await?;
        Ok(())
    }

    /// Other processes may be making them; each is due again when its lease is over.
    async fn release_deliveries(&self) -> Result<(), QueueError> {
        Ok(())
    }
}
