//! A thousand jobs end, and receivers that fail at random learn of each, on both databases. Their signatures are verified with the
//! library of Standard Webhooks itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{
    client::quick,
    postgres::cluster,
    receiver::{Answer, Received, Receiver, deliver},
    server::{Setup, TestServer},
};
use reverie::{
    clock::{Clock, Timestamp},
    config::Database,
    jobs::{JobId, JobState, NewJob, Webhook as Told},
    keys::Tenant,
};
use reverie_dream::spec::{self, InputKind};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::task::JoinSet;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const JOBS: usize = 1000;
const RECEIVERS: usize = 8;

const MOST_FAILURES: usize = 4;

/// Seconds until what has failed once, twice and so on is surely due again.
const ROUNDS: [u64; MOST_FAILURES + 1] = [0, 6, 331, 1981, 7921];

/// A receiver that fails two times in seven, in every way but with silence, which takes its time; but never more than
/// [`MOST_FAILURES`] times with one message.
async fn moody() -> Receiver {
    let (count, failures) = (AtomicU32::new(0), Mutex::new(HashMap::<String, usize>::new()));
    Receiver::start(move |message| {
        let number = count.fetch_add(1, Ordering::Relaxed).wrapping_mul(2_654_435_761) >> 16;
        let mut failures = failures.lock().unwrap();
        let failures = failures.entry(message.headers["webhook-id"].clone()).or_default();
        if number % 7 > 1 || *failures == MOST_FAILURES {
            return Answer::Status(204);
        }
        *failures += 1;
        [
            Answer::Status(500),
            Answer::Status(429),
            Answer::Redirect("/elsewhere".into()),
            Answer::Raw(b"HTTP/9 what?".to_vec()),
            Answer::Raw(Vec::new()),
        ][number as usize / 7 % 5]
            .clone()
    })
    .await
}

fn verify(message: &Received) {
    let header = |name: &str| message.headers[name].as_str();
    let time = header("webhook-timestamp").parse().unwrap();
    let expected = Webhook::new(SECRET).unwrap().sign(header("webhook-id"), time, &message.body).unwrap();
    assert_eq!(header("webhook-signature"), expected);
}

/// Jobs that have ended as soon as they were accepted; their ids.
async fn ended(server: &TestServer, receivers: &[Receiver]) -> Vec<JobId> {
    let spec = spec::resolve("", quick(), &server.state.catalogue, InputKind::Image).unwrap();
    let mut accepting = JoinSet::new();
    for number in 0..JOBS {
        let receiver = receivers[number % RECEIVERS].url("");
        let webhook = Told { url: receiver.clone(), receiver, events: vec![JobState::Canceled] };
        let new = NewJob { webhook: Some(webhook), ..NewJob::new(JobId::new(), spec.clone()) };
        let queue = server.state.queue.clone();
        accepting.spawn(async move {
            let id = queue.enqueue(new).await.unwrap().id;
            queue.cancel(&Tenant::DEFAULT, id).await.unwrap().id
        });
    }
    accepting.join_all().await
}

/// Whether the delivery of a job has arrived, once so many attempts are noted.
async fn arrived(server: &TestServer, id: JobId, attempts: usize) -> bool {
    let path = format!("/v1/jobs/{id}/deliveries");
    let mut delivery = Value::Null;
    common::until("the attempt is noted", async || {
        let list: Value = server.client.get(&path).await.json().await.unwrap();
        delivery = list["deliveries"][0].clone();
        delivery["attempts"].as_array().unwrap().len() >= attempts
    })
    .await;
    delivery["state"] == "delivered"
}

async fn each_end_is_told(database: Option<Database>) {
    let mut setup = Setup { works: false, ..Setup::new().await };
    deliver(&mut setup.config, &[SECRET]);
    setup.config.queue.capacity = JOBS as u32;
    if let Some(database) = database {
        setup.config.storage.database = database;
    }
    setup.clock = Clock::driven(Timestamp::from_millis(1_700_000_000_000));
    let clock = setup.clock.clone();
    let server = setup.start().await;
    let mut receivers = Vec::new();
    for _ in 0..RECEIVERS {
        receivers.push(moody().await);
    }
    let mut left = ended(&server, &receivers).await;
    let all: HashSet<String> = left.iter().map(JobId::to_string).collect();
    let mut ids = HashMap::<String, HashSet<String>>::new();
    for (round, seconds) in ROUNDS.into_iter().enumerate() {
        clock.advance(Duration::from_secs(seconds));
        let mut failed = Vec::new();
        for id in left {
            if !arrived(&server, id, round + 1).await {
                failed.push(id);
            }
        }
        left = failed;
        for message in receivers.iter_mut().flat_map(Receiver::rest) {
            verify(&message);
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            let job = body["data"]["id"].as_str().unwrap().to_owned();
            ids.entry(job).or_default().insert(message.headers["webhook-id"].clone());
        }
    }
    assert_eq!(left, [], "no receiver fails more often");
    // Of each job, with one id however often it was told.
    assert_eq!(ids.keys().cloned().collect::<HashSet<_>>(), all);
    assert_eq!(ids.values().filter(|ids| ids.len() != 1).count(), 0);
    assert_eq!(ids.into_values().flatten().collect::<HashSet<_>>().len(), JOBS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_a_thousand_ends_is_told() {
    each_end_is_told(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_a_thousand_ends_is_told_by_postgres() {
    let Some(cluster) = cluster("webhooks_many::each_of_a_thousand_ends_is_told_by_postgres") else { return };
    each_end_is_told(Some(Database::Postgres(cluster.database().await))).await;
}
