//! Webhooks in the API: what a submission says of them, the body of a message, and the deliveries of a job.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use super::{
    contract::{Internal, NotFound, Unavailable},
    error::ApiError,
    path_ids::Named,
    state::AppState,
    view::{self, JobView},
};
use crate::{
    auth::Caller,
    clock::Timestamp,
    config::PublicUrl,
    jobs::{Delivery, DeliveryAttempt, DeliveryState, Job, JobId, JobState, Webhook},
    keys::Tenant,
};
use reverie_fields::{FieldError, Fields, note};

/// What a submission says of webhooks, as sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookFields {
    url: Option<String>,
    events: Option<Vec<String>>,
}

impl WebhookFields {
    /// Takes the fields; records wrong types in `fields`.
    pub(super) fn read(fields: &mut Fields) -> Self {
        Self { url: fields.text("webhook"), events: fields.texts("webhook_events") }
    }

    /// Checks them; records mistakes in `errors`.
    pub(super) fn check(
        self,
        state: &AppState,
        tenant: &Tenant,
        errors: &mut Vec<FieldError>,
    ) -> Option<Webhook> {
        let events = read_events(self.events.as_deref()).unwrap_or_else(|problem| {
            note(errors, FieldError::new("/webhook_events", problem));
            Vec::new()
        });
        let Some(text) = self.url else {
            if self.events.is_some() {
                note(errors, FieldError::new("/webhook_events", "needs a \"webhook\" to send them to"));
            }
            return None;
        };
        if state.config.webhooks.secrets_of(tenant).is_empty() {
            let problem = "this server signs no webhooks for you; the operator can set webhooks.secrets";
            note(errors, FieldError::new("/webhook", problem));
            return None;
        }
        match state.egress.read_url(&text) {
            Ok(url) => {
                let receiver = url.origin().ascii_serialization();
                Some(Webhook { url: url.into(), receiver, events })
            }
            Err(refusal) => {
                note(errors, FieldError::new("/webhook", refusal.to_string()));
                None
            }
        }
    }
}

/// The final states to tell of; all of them where none are named.
fn read_events(names: Option<&[String]>) -> Result<Vec<JobState>, String> {
    let all: Vec<JobState> = JobState::ALL.into_iter().filter(|state| state.is_finished()).collect();
    let Some(names) = names else { return Ok(all) };
    let known = |name: &String| all.iter().find(|state| state.as_str() == name).copied();
    match names.iter().map(known).collect::<Option<Vec<JobState>>>() {
        // Each once, whatever order they came in.
        Some(named) if !named.is_empty() => {
            Ok(all.iter().filter(|state| named.contains(state)).copied().collect())
        }
        _ => {
            let names: Vec<&str> = all.iter().map(|state| state.as_str()).collect();
            Err(format!("give a list of one or more of {}", names.join(", ")))
        }
    }
}

/// A message to a webhook, by Standard Webhooks 1.0. `docs/webhooks.md` has a receiver.
#[derive(Debug, Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: String,
    timestamp: Timestamp,
    data: JobView<'a>,
}

/// The body of the message about a job that has ended. Links are as in other answers: `base` is `server.public_url`.
///
/// # Errors
/// If it cannot be written, which would be a bug.
pub fn message(job: &Job, base: &PublicUrl) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Message {
        kind: format!("job.{}", job.state),
        timestamp: job.finished_at.unwrap_or(job.updated_at),
        data: view::view(job, None, base),
    })
}

/// The messages about the end of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryList)]
pub struct DeliveryList {
    /// One where the job has ended in a state that its webhook is told of, else none.
    deliveries: Vec<DeliveryView>,
}

/// A message about the end of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
struct DeliveryView {
    /// The `webhook-id`: the same in every attempt.
    id: String,
    /// The state that the job ended in. The message's `type` is `job.` and this.
    event: JobState,
    /// Where it goes.
    url: String,
    /// Where it stands.
    state: DeliveryState,
    /// When the job ended.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the next attempt is due, while it is pending.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    next_attempt_at: Option<Timestamp>,
    /// The last attempts, oldest first, at most 20.
    attempts: Vec<AttemptView>,
}

/// One attempt to deliver a message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryAttempt)]
struct AttemptView {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Status of the receiver's answer.
    #[schema(required = true)]
    status: Option<u16>,
    /// Why there was no answer.
    #[schema(required = true)]
    error: Option<String>,
    /// How long it took.
    milliseconds: u64,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let attempt = |DeliveryAttempt { at, status, error, milliseconds }| AttemptView {
            at: Timestamp::from_millis(at),
            status,
            error,
            milliseconds,
        };
        Self {
            next_attempt_at: (delivery.state == DeliveryState::Pending).then_some(delivery.due_at),
            id: delivery.id,
            event: delivery.event,
            url: delivery.url,
            state: delivery.state,
            created_at: delivery.created_at,
            attempts: delivery.attempts.into_iter().map(attempt).collect(),
        }
    }
}

/// List a job's webhook deliveries
///
/// Shows what became of telling the job's `webhook` of its end: each attempt, and when the next one is due.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/deliveries",
    operation_id = "listDeliveries",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5")),
    responses(
        (status = 200, description = "The deliveries.", body = DeliveryList),
        (status = 404, response = NotFound),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn list(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
) -> Result<Json<DeliveryList>, ApiError> {
    let id = named.job()?;
    state.queue.get(&tenant, id).await?;
    Ok(Json(listed(&state, &tenant, id).await?))
}

async fn listed(state: &AppState, tenant: &Tenant, id: JobId) -> Result<DeliveryList, ApiError> {
    let deliveries = state.queue.deliveries(tenant, id).await?;
    Ok(DeliveryList { deliveries: deliveries.into_iter().map(DeliveryView::from).collect() })
}

/// Replay a job's webhook deliveries
///
/// Sends the message about the job's end again, now and with all retries, whatever became of it before. It has the same
/// `webhook-id`. A message that is being sent is not sent twice.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/deliveries",
    operation_id = "replayDeliveries",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5")),
    responses(
        (status = 202, description = "The deliveries, which are due now.", body = DeliveryList),
        (status = 404, response = NotFound),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn replay(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
) -> Result<(StatusCode, Json<DeliveryList>), ApiError> {
    let id = named.job()?;
    state.queue.get(&tenant, id).await?;
    state.queue.replay_deliveries(&tenant, id).await?;
    info!(job = %id, "webhook deliveries are replayed");
    Ok((StatusCode::ACCEPTED, Json(listed(&state, &tenant, id).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_final_states() {
        let read = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            read_events(Some(&names))
        };
        assert_eq!(read_events(None).unwrap().len(), 4);
        assert_eq!(read(&["expired", "failed", "expired"]).unwrap(), [JobState::Failed, JobState::Expired]);
        for wrong in [&[][..], &["running"], &["failed", "done"], &["done", "failed"]] {
            assert!(read(wrong).unwrap_err().contains("succeeded, failed, canceled, expired"), "{wrong:?}");
        }
    }
}
