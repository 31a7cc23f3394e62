//! A client that knows only the load balancer. It does what the API asks of clients: it sends an idempotency
//! key with requests that must not run twice, and retries after a `503` or a `429`. Every other failure fails the test.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::{
    common::{
        client::{Client, DEADLINE},
        events::Events,
    },
    workload::{Workload, dreams},
};

/// How a client learns of the end of a job.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// Bounded waits.
    Waits,
    /// A stream of events.
    Events,
    /// Looks, again and again.
    Polls,
}

impl Manner {
    /// Each in its turn.
    pub fn of(number: usize) -> Self {
        [Self::Waits, Self::Events, Self::Polls][number % 3]
    }
}

/// See above.
#[derive(Clone)]
pub struct LoadClient {
    pub client: Client,
    /// Requests that were refused and sent again.
    pub refused: Arc<AtomicU64>,
    /// Requests that were answered.
    pub answered: Arc<AtomicU64>,
}

impl LoadClient {
    pub fn new(client: Client) -> Self {
        Self { client, refused: Arc::default(), answered: Arc::default() }
    }

    /// Sends a request until it is answered by something else than "not now".
    pub async fn ask(&self, request: impl Fn() -> RequestBuilder) -> Response {
        let asking = async {
            loop {
                let answer = request().send().await.expect("the balancer breaks off");
                if !matches!(answer.status().as_u16(), 429 | 503) {
                    assert!(!answer.status().is_server_error(), "{answer:?}");
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    return answer;
                }
                assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
                self.refused.fetch_add(1, Ordering::Relaxed);
                // Less than it says: a test has no time to lose.
                sleep(Duration::from_millis(250)).await;
            }
        };
        timeout(DEADLINE, asking).await.expect("the service refuses for too long")
    }

    /// Waits until somebody is refused, from now on.
    pub async fn until_refused(&self) {
        let before = self.refused.load(Ordering::Relaxed);
        crate::until("somebody is refused", async || self.refused.load(Ordering::Relaxed) > before).await;
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.http.get(format!("{}{path}", self.client.url))
    }

    /// Orders a dream under a key; its id.
    pub async fn order(&self, order: &Workload, key: &str) -> String {
        let answer = self.ask(|| order.request(&self.client).header("idempotency-key", key)).await;
        // A key that is known brings its job, which may have ended.
        let ended = answer.headers().contains_key("idempotent-replayed") && answer.status() == 200;
        assert!(ended || answer.status() == 202, "{}", answer.text().await.unwrap());
        id(&answer.json().await.unwrap())
    }

    /// The job as it stands.
    pub async fn job(&self, id: &str) -> Value {
        let answer = self.ask(|| self.get(&format!("/v1/jobs/{id}"))).await;
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    /// Asks for a job to stop.
    pub async fn cancel(&self, id: &str) -> Response {
        let url = format!("{}/v1/jobs/{id}/cancel", self.client.url);
        self.ask(|| self.client.http.post(&url)).await
    }

    /// Follows a job to its end; as it stands then.
    pub async fn end(&self, id: &str, manner: Manner) -> Value {
        let ending = async {
            loop {
                let job = match manner {
                    Manner::Waits => {
                        let path = format!("/v1/jobs/{id}");
                        let answer = self.ask(|| self.get(&path).header("prefer", "wait=60")).await;
                        answer.json().await.unwrap()
                    }
                    Manner::Events => {
                        self.watch(id).await;
                        self.job(id).await
                    }
                    Manner::Polls => {
                        sleep(Duration::from_millis(100)).await;
                        self.job(id).await
                    }
                };
                if job["finished_at"].is_string() {
                    return job;
                }
            }
        };
        timeout(DEADLINE, ending).await.unwrap_or_else(|_| panic!("{id} does not end"))
    }

    /// Reads a stream of events to its end, which may come before that of the job: a server that stops says so.
    async fn watch(&self, id: &str) {
        let answer = self.ask(|| self.get(&format!("/v1/jobs/{id}/events"))).await;
        assert_eq!(answer.status(), 200);
        let mut events = Events::of(answer);
        let mut last = None;
        while let Some(event) = events.next().await {
            assert!(last <= Some(event.id), "events go back in time");
            last = Some(event.id);
            assert_eq!(event.data["id"], id);
        }
    }

    /// Orders a dream, waits for it, and compares it with what it must be; the job.
    pub async fn dream(&self, order: &Workload, key: &str, manner: Manner) -> Value {
        let id = self.order(order, key).await;
        let job = self.end(&id, manner).await;
        self.compare(&job, order).await;
        job
    }

    /// The job must have succeeded, with the dream that it must be.
    pub async fn compare(&self, job: &Value, order: &Workload) {
        assert_eq!(job["status"], "succeeded", "{job}");
        let path = job["links"]["result"].as_str().unwrap();
        let answer = self.ask(|| self.get(path)).await;
        assert_eq!(answer.status(), 200);
        let dream = answer.bytes().await.unwrap();
        assert!(dreams().await[&order.name] == dream, "{job} became another dream than {}", order.name);
    }
}

/// The id of a job.
pub fn id(job: &Value) -> String {
    job["id"].as_str().unwrap().to_owned()
}
