//! The interface of the store of deliveries, and its statements and rows, once for both databases.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    ClaimedDelivery, Crowded, Delivery, DeliveryAttempt, DeliveryOutcome, DeliveryState, JobId,
    MOST_ATTEMPTS, QueueError,
    row::{self, Columns},
};
use crate::{clock::Timestamp, keys::Tenant};

/// The messages that tell clients of the end of their jobs. They go with their jobs.
#[async_trait]
pub trait DeliveryStore: Send + Sync + 'static {
    /// Takes the delivery that has been due for the longest time, for `lease`: after that others may take it again. Leaves
    /// out those to the receivers and of the tenants in `except`.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn claim_delivery(
        &self,
        except: &Crowded,
        lease: Duration,
    ) -> Result<Option<ClaimedDelivery>, QueueError>;

    /// Notes what became of an attempt. Returns whether the claim still held; without it nothing is written.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn note_delivery(
        &self,
        claimed: &ClaimedDelivery,
        outcome: DeliveryOutcome,
    ) -> Result<bool, QueueError>;

    /// Lists the deliveries of a tenant's job.
    ///
    /// # Errors
    /// Only when the store fails. A job that does not exist has none.
    async fn deliveries(&self, tenant: &Tenant, job: JobId) -> Result<Vec<Delivery>, QueueError>;

    /// Makes the deliveries of a tenant's job due now, with all attempts before them, but for one that is being made.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn replay_deliveries(&self, tenant: &Tenant, job: JobId) -> Result<(), QueueError>;

    /// Makes those due that a process of before was making. Correct only if no other process can be making any.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn release_deliveries(&self) -> Result<(), QueueError>;
}

macro_rules! delivery_columns {
    () => {
        "id, job, tenant, event, url, receiver, state, due_at, failures, attempts, created_at"
    };
}

macro_rules! claim_delivery {
    ($now:literal, $except:literal, $lock:literal) => {
        concat!(
            "UPDATE deliveries SET claim = $1, due_at = ",
            $now,
            " + $2
            WHERE id = (
                SELECT id FROM deliveries WHERE state = 'pending' AND due_at <= ",
            $now,
            " AND ",
            $except,
            "
                ORDER BY due_at, id LIMIT 1 ",
            $lock,
            "
            )
            RETURNING ",
            $crate::jobs::delivery_store::delivery_columns!()
        )
    };
}

macro_rules! note_delivery {
    ($now:literal) => {
        concat!(
            "UPDATE deliveries SET state = $3, due_at = ",
            $now,
            " + $4, failures = $5, attempts = $6, claim = NULL
            WHERE id = $1 AND claim = $2"
        )
    };
}

macro_rules! replay_deliveries {
    ($now:literal) => {
        concat!(
            "UPDATE deliveries SET state = 'pending', due_at = ",
            $now,
            ", failures = 0, claim = NULL
            WHERE job = $1 AND tenant = $2 AND (claim IS NULL OR due_at <= ",
            $now,
            ")"
        )
    };
}

pub(super) const LIST_DELIVERIES: &str = concat!(
    "SELECT ",
    delivery_columns!(),
    " FROM deliveries WHERE job = $1 AND tenant = $2 ORDER BY created_at, id"
);

/// Reads a delivery from its row.
pub(super) fn delivery(row: &impl Columns) -> Result<Delivery, QueueError> {
    let id = row.text("id")?.unwrap_or_default().to_owned();
    let corrupt = |problem: String| QueueError::Corrupt { id: id.clone(), problem };
    let text =
        |column: &str| -> Result<String, QueueError> { Ok(row.text(column)?.unwrap_or_default().to_owned()) };
    let time = |column: &str| -> Result<Timestamp, QueueError> {
        Ok(Timestamp::from_millis(row.integer(column)?.unwrap_or_default()))
    };
    let unreadable = |problem: serde_json::Error| corrupt(problem.to_string());
    let state = serde_json::from_value::<DeliveryState>(text("state")?.into()).map_err(unreadable)?;
    let failures = row.integer("failures")?.unwrap_or_default();
    Ok(Delivery {
        job: text("job")?.parse().map_err(|_| corrupt("its job is no id".into()))?,
        tenant: row::tenant(row)?,
        event: text("event")?.parse().map_err(|_| corrupt("its event is unknown".into()))?,
        url: text("url")?,
        receiver: text("receiver")?,
        state,
        due_at: time("due_at")?,
        failures: u32::try_from(failures).unwrap_or_default(),
        attempts: serde_json::from_str(&text("attempts")?).map_err(unreadable)?,
        created_at: time("created_at")?,
        id,
    })
}

/// The remembered attempts with one more, as they are stored.
pub(super) fn with_attempt(delivery: &Delivery, attempt: DeliveryAttempt) -> Result<String, QueueError> {
    let mut attempts = delivery.attempts.clone();
    attempts.push(attempt);
    let first = attempts.len().saturating_sub(MOST_ATTEMPTS);
    let newest = attempts.split_off(first);
    row::json(delivery.job, &newest)
}

/// Binds the values of [`note_delivery!`].
macro_rules! bind_note {
    ($statement:expr, $claimed:expr, $outcome:expr, $now:expr) => {{
        let claimed: &$crate::jobs::ClaimedDelivery = $claimed;
        let outcome: $crate::jobs::DeliveryOutcome = $outcome;
        sqlx::query($statement)
            .bind(claimed.delivery.id.as_str())
            .bind(claimed.token.to_string())
            .bind(outcome.state.as_str())
            .bind($crate::jobs::transition::millis(outcome.retry_after))
            .bind(i64::from(outcome.failures))
            .bind($crate::jobs::delivery_store::with_attempt(&claimed.delivery, outcome.attempt)?)
            .bind($now)
    }};
}

pub(super) use {bind_note, claim_delivery, delivery_columns, note_delivery, replay_deliveries};
