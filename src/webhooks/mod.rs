//! Tells clients of the end of their jobs, by Standard Webhooks 1.0 (<https://www.standardwebhooks.com>).
//!
//! What is to be told lies in the job store, written in the commit that ended the job. So a message is sent at least
//! once, whatever dies between: a claim that is not noted runs out, and the next one sends the same message with the
//! same id. A receiver that is slow or dead takes a few places and no more, and so does a tenant with many of them, so neither
//! delays others.

mod schedule;

use std::{collections::HashMap, sync::Arc, time::Duration, time::Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    clock::Timestamp,
    config::WebhooksConfig,
    egress::{Egress, POST_TIMEOUT},
    jobs::{ClaimedDelivery, Crowded, Delivery, DeliveryAttempt, DeliveryState, Job, JobQueue, QueueError},
    keys::Tenant,
    metrics::Metrics,
};

/// Deliveries at the same time, of one tenant, and to one receiver.
const MOST_AT_ONCE: usize = 128;
const MOST_OF_ONE: usize = 32;
const MOST_TO_ONE: usize = 4;

/// How often to look for deliveries.
const EVERY: Duration = Duration::from_secs(1);

/// How long a claim holds: longer than an attempt and its note.
const LEASE: Duration = POST_TIMEOUT.saturating_add(Duration::from_secs(15));

/// Writes the body of a message about a job that has ended.
pub type Body = dyn Fn(&Job) -> Result<Vec<u8>, serde_json::Error> + Send + Sync;

/// Delivers what is due, until it is stopped.
#[derive(Clone)]
pub struct Deliverer {
    /// Where the deliveries lie.
    pub queue: Arc<dyn JobQueue>,
    /// Guards and sends the requests.
    pub egress: Egress,
    /// The secrets that sign them.
    pub secrets: Arc<WebhooksConfig>,
    /// Writes the messages.
    pub body: Arc<Body>,
    /// Counts the attempts.
    pub metrics: Arc<Metrics>,
}

/// Whose attempt it is.
struct Whose {
    receiver: String,
    tenant: Tenant,
}

impl Deliverer {
    /// Delivers until `stop` is canceled, looks a last time, and waits for the attempts that are being made.
    pub async fn work(self, stop: CancellationToken) {
        let (mut attempts, mut under_way) = (JoinSet::new(), HashMap::<Id, Whose>::new());
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        while !stopping {
            tokio::select! {
                _ = looks.tick() => {}
                Some(ended) = attempts.join_next_with_id() => forget(&mut under_way, ended),
                () = stop.cancelled() => stopping = true,
            }
            while attempts.len() < MOST_AT_ONCE
                && let Some(claimed) = self.claim(&under_way).await
            {
                let Delivery { receiver, tenant, .. } = &claimed.delivery;
                let whose = Whose { receiver: receiver.clone(), tenant: tenant.clone() };
                let attempt = attempts.spawn(self.clone().deliver(claimed));
                under_way.insert(attempt.id(), whose);
            }
        }
        while attempts.join_next().await.is_some() {}
    }

    /// Claims a delivery for which its receiver and its tenant have a place.
    async fn claim(&self, under_way: &HashMap<Id, Whose>) -> Option<ClaimedDelivery> {
        let claimed = self.queue.claim_delivery(&crowded(under_way.values()), LEASE).await;
        claimed.unwrap_or_else(|error| {
            warn!(%error, "webhooks that are due cannot be read; the next look tries again");
            None
        })
    }

    /// Makes one attempt and notes what became of it.
    async fn deliver(self, claimed: ClaimedDelivery) {
        let Delivery { id, tenant, job, failures, .. } = &claimed.delivery;
        let job = match self.queue.get(tenant, *job).await {
            Ok(job) => job,
            // The job was erased, and the delivery with it.
            Err(QueueError::NotFound(_)) => return,
            Err(error) => return warn!(delivery = id, %error, "a webhook waits: its job cannot be read"),
        };
        let (at, began) = (self.queue.clock().now(), Instant::now());
        let answer = self.send(&claimed.delivery, &job, at).await;
        let attempt = DeliveryAttempt {
            at: at.as_millis(),
            status: answer.as_ref().ok().copied(),
            error: answer.err(),
            milliseconds: began.elapsed().as_millis() as u64,
        };
        let outcome = schedule::outcome(*failures, attempt);
        let (state, status) = (outcome.state, outcome.attempt.status);
        self.metrics.told(state, began.elapsed());
        match state {
            DeliveryState::Failed => warn!(delivery = id, job = %job.id, status, "a webhook failed for good"),
            _ => info!(delivery = id, job = %job.id, status, state = state.as_str(), "a webhook was tried"),
        }
        match self.queue.note_delivery(&claimed, outcome).await {
            Ok(true) => {}
            Ok(false) => info!(delivery = id, "a webhook was replayed or taken over while it was delivered"),
            Err(error) => {
                warn!(delivery = id, %error, "a webhook is sent again: its attempt cannot be noted")
            }
        }
    }

    /// Sends a message; the status of the answer, or why there was none.
    async fn send(&self, delivery: &Delivery, job: &Job, at: Timestamp) -> Result<u16, String> {
        let body = (self.body)(job).map_err(|error| {
            error!(%error, job = %job.id, "the message about a job cannot be written");
            "the server could not write the message".to_owned()
        })?;
        let headers = self.headers(delivery, &body, at)?;
        let url = self.egress.read_url(&delivery.url).map_err(|refusal| refusal.to_string())?;
        self.egress.post(url, headers, body.into()).await.map_err(|error| error.to_string())
    }

    /// The headers of a message, with a signature by each secret.
    fn headers(&self, delivery: &Delivery, body: &[u8], at: Timestamp) -> Result<HeaderMap, String> {
        let (id, seconds) = (&delivery.id, at.as_millis().div_euclid(1000));
        let secrets = self.secrets.secrets_of(&delivery.tenant);
        if secrets.is_empty() {
            return Err("the server has no secret to sign messages with (webhooks.secrets)".to_owned());
        }
        let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(id, seconds, body)).collect();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [
            ("webhook-id", id.clone()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ] {
            headers.insert(name, value.parse().map_err(|_| format!("{name} cannot be written"))?);
        }
        Ok(headers)
    }
}

/// An attempt has ended, by itself or by a bug.
fn forget(under_way: &mut HashMap<Id, Whose>, ended: Result<(Id, ()), JoinError>) {
    let id = ended.map(|(id, ())| id).unwrap_or_else(|error| {
        error!(%error, "an attempt to deliver a webhook broke off");
        error.id()
    });
    under_way.remove(&id);
}

/// Who has as many attempts as one may have.
fn crowded<'a>(under_way: impl Iterator<Item = &'a Whose> + Clone) -> Crowded {
    let receivers = under_way.clone().map(|whose| whose.receiver.as_str());
    let tenants = under_way.map(|whose| whose.tenant.as_str());
    Crowded { receivers: at_least(MOST_TO_ONE, receivers), tenants: at_least(MOST_OF_ONE, tenants) }
}

/// The names that are there `most` times or more.
fn at_least<'a>(most: usize, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut counts = HashMap::<&str, usize>::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let full = counts.into_iter().filter(|(_, count)| *count >= most);
    full.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_and_a_tenant_have_their_share_of_the_attempts() {
        let whose = |receiver: usize, tenant: &str| Whose {
            receiver: format!("https://{receiver}"),
            tenant: tenant.parse().unwrap(),
        };
        // Many receivers of one tenant, three attempts each, and one that has four.
        let mut under_way: Vec<Whose> = (0..MOST_OF_ONE - 1).map(|index| whose(index / 3, "many")).collect();
        under_way.extend((0..MOST_TO_ONE).map(|_| whose(99, "few")));
        let found = crowded(under_way.iter());
        assert_eq!((found.receivers, found.tenants), (vec!["https://99".to_owned()], vec![]));
        under_way.push(whose(50, "many"));
        assert_eq!(crowded(under_way.iter()).tenants, ["many"]);
    }
}
