//! How many ends of jobs are told a second: jobs that wait are canceled, and each end goes to a receiver as a signed webhook.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{Router, http::StatusCode};
use reverie::{
    config::{Database, PostgresUrl},
    jobs::{JobId, JobState, NewJob, Webhook},
    keys::Tenant,
};
use reverie_dream::{
    model::Catalogue,
    spec::{self, InputKind},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

use crate::{Row, postgres::Cluster, serve_with};

const JOBS: usize = 3000;
/// A receiver gets four messages at the same time, and no more.
const RECEIVERS: usize = 16;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub async fn rates(folder: &Path, catalogue: &Arc<Catalogue>) -> Vec<Row> {
    let what = "ends of jobs told to 16 receivers, on SQLite";
    let mut rows = vec![Row { what, found: rate(folder, catalogue, None).await, target: "≥ 200/s" }];
    let Some(cluster) = Cluster::with(&["-c", "fsync=on", "-c", "shared_buffers=256MB"]) else { return rows };
    let found = rate(folder, catalogue, Some(cluster.database().await)).await;
    rows.push(Row { what: "… on PostgreSQL", found, target: "≥ 200/s" });
    rows
}

/// From the first end to the last message. The jobs are canceled meanwhile, as fast as the store takes it.
async fn rate(folder: &Path, catalogue: &Arc<Catalogue>, database: Option<PostgresUrl>) -> String {
    let server = serve_with(folder, catalogue, false, |config| {
        config.webhooks.secrets = vec![(None, SECRET.parse().unwrap())];
        config.egress.allow_http = true;
        config.egress.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
        if let Some(url) = database {
            config.storage.database = Database::Postgres(url);
        }
    })
    .await;
    let (came, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut receivers = JoinSet::new();
    let mut urls = Vec::new();
    for _ in 0..RECEIVERS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        urls.push(format!("http://{}", listener.local_addr().unwrap()));
        let (came, all) = (Arc::clone(&came), Arc::clone(&all));
        let router = Router::new().fallback(async move || {
            if came.fetch_add(1, Ordering::Relaxed) + 1 == JOBS {
                all.notify_one();
            }
            StatusCode::NO_CONTENT
        });
        receivers.spawn(async move { axum::serve(listener, router).await.unwrap() });
    }
    let queue = Arc::clone(&server.app.state.queue);
    let spec = spec::resolve("", json!({ "seed": 7 }), catalogue, InputKind::Image).unwrap();
    let mut accepting = JoinSet::new();
    for number in 0..JOBS {
        let receiver = urls[number % RECEIVERS].clone();
        let webhook = Webhook { url: receiver.clone(), receiver, events: vec![JobState::Canceled] };
        let new = NewJob { webhook: Some(webhook), ..NewJob::new(JobId::new(), spec.clone()) };
        let queue = Arc::clone(&queue);
        accepting.spawn(async move { queue.enqueue(new).await.unwrap().id });
    }
    let ids = accepting.join_all().await;
    let began = Instant::now();
    let mut ending = JoinSet::new();
    for ids in ids.chunks(JOBS / 8) {
        let (queue, ids) = (Arc::clone(&queue), ids.to_vec());
        ending.spawn(async move {
            for id in ids {
                queue.cancel(&Tenant::DEFAULT, id).await.unwrap();
            }
        });
    }
    all.notified().await;
    let seconds = began.elapsed().as_secs_f64();
    ending.join_all().await;
    server.stop().await;
    format!("{:.0}/s", JOBS as f64 / seconds)
}
