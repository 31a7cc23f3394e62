//! Webhooks: where the end of a job is told, and what became of telling it.
//!
//! A trigger of the database writes a row of `deliveries` when a job ends (`migrations/*_webhooks.sql`), so the row is
//! in the same commit as the end, whichever statement and whichever version of the server ends the job.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{JobId, JobState};
use crate::{clock::Timestamp, keys::Tenant};
use reverie_fields::choices;

/// Most attempts of a delivery that are remembered: the newest.
pub const MOST_ATTEMPTS: usize = 20;

/// Where and when a client wants to be told of its job. Stored as JSON, which the trigger reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// Where to post to.
    pub url: String,
    /// Scheme, host and port of it: what is slow or dead together.
    pub receiver: String,
    /// The final states to tell of.
    pub events: Vec<JobState>,
}

choices! {
    /// Where a delivery stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum DeliveryState {
        /// It is still to be made, now or at its next attempt.
        Pending = "pending",
        /// The receiver answered with a status of success.
        Delivered = "delivered",
        /// Every attempt failed; it can be replayed.
        Failed = "failed",
        /// The receiver answered 410: it wants no more of it.
        Gone = "gone",
    }
}

impl DeliveryState {
    /// The name in the database and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

/// One attempt to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryAttempt {
    /// When it began, in milliseconds since 1970.
    pub at: i64,
    /// Status of the receiver's answer, if there was one.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
    /// How long it took.
    pub milliseconds: u64,
}

/// A message about the end of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The `webhook-id`: the same in every attempt.
    pub id: String,
    /// The job.
    pub job: JobId,
    /// Whom it belongs to.
    pub tenant: Tenant,
    /// The state that the job ended in.
    pub event: JobState,
    /// Where to post to.
    pub url: String,
    /// See [`Webhook::receiver`].
    pub receiver: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// When the next attempt is due; while one is made, when others may take over.
    pub due_at: Timestamp,
    /// Attempts that failed since it was made, or since it was last replayed.
    pub failures: u32,
    /// The last attempts, oldest first.
    pub attempts: Vec<DeliveryAttempt>,
    /// When the job ended.
    pub created_at: Timestamp,
}

/// A delivery to be made now. As with a job's lease, a note with another token changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// New with every claim.
    pub token: Uuid,
}

/// Whose deliveries are left for later, since they have as many attempts under way as they may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crowded {
    /// Receivers, as [`Delivery::receiver`] names them.
    pub receivers: Vec<String>,
    /// Tenants.
    pub tenants: Vec<String>,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryOutcome {
    /// Where the delivery stands now.
    pub state: DeliveryState,
    /// When to try again, from now; for [`DeliveryState::Pending`].
    pub retry_after: std::time::Duration,
    /// See [`Delivery::failures`].
    pub failures: u32,
    /// The attempt.
    pub attempt: DeliveryAttempt,
}
