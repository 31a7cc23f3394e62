//! What one tenant may take of a server: requests, places in the queue, turns at the workers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::io::Write;

use common::{
    client::{form, problem, quick},
    picture,
    server::Setup,
};
use serde_json::{Value, json};

const JOBS: &str = "jobs:read,jobs:write";

#[tokio::test]
async fn a_tenant_that_asks_too_often_waits_alone() {
    let mut setup = Setup { works: false, ..Setup::new().await };
    setup.require_keys();
    setup.config.quotas.requests_per_second = Some(2);
    let server = setup.start().await;
    // Two keys of one tenant share its allowance.
    let keys = [server.client_of("busy", JOBS).await, server.client_of("busy", JOBS).await];
    let mut answers = Vec::new();
    for number in 0..6 {
        answers.push(keys[number % 2].get("/v1/jobs").await);
    }
    let first = answers.remove(0);
    assert_eq!(
        (first.status().as_u16(), &first.headers()["ratelimit-policy"]),
        (200, &"\"requests\";q=2;w=1".parse().unwrap())
    );
    assert_eq!(first.headers()["ratelimit"], "\"requests\";r=1;t=1");
    let refused = answers.into_iter().find(|answer| answer.status() == 429).expect("six requests at once");
    assert_eq!(
        (&refused.headers()["retry-after"], &refused.headers()["ratelimit"]),
        (&"1".parse().unwrap(), &"\"requests\";r=0;t=1".parse().unwrap())
    );
    let refusal = problem(refused, 429).await;
    assert_eq!(refusal["type"], "urn:reverie:problem:quota-exceeded");
    // Another tenant does not notice, and neither does health.
    assert_eq!(server.client_of("calm", JOBS).await.get("/v1/jobs").await.status(), 200);
    for _ in 0..5 {
        assert_eq!(server.client.get("/healthz").await.status(), 200);
    }
    // A second later there is more.
    common::until("the tenant may ask again", async || keys[0].get("/v1/jobs").await.status() == 200).await;
}

#[tokio::test]
async fn a_tenant_has_a_part_of_the_queue() {
    let mut setup = Setup { works: false, ..Setup::new().await };
    setup.require_keys();
    setup.config.quotas.max_waiting_jobs = Some(2);
    let server = setup.start().await;
    let (busy, calm) = (server.client_of("busy", JOBS).await, server.client_of("calm", JOBS).await);
    let first = busy.submit(picture(64, 64), &quick()).await;
    busy.submit(picture(64, 64), &quick()).await;
    let refused = busy.post_form(form(picture(64, 64), &quick())).await;
    assert!(refused.headers().contains_key("retry-after"));
    let refusal = problem(refused, 429).await;
    assert_eq!(refusal["type"], "urn:reverie:problem:quota-exceeded");
    assert!(refusal["detail"].as_str().unwrap().contains("2 jobs of this tenant are waiting"), "{refusal}");
    assert_eq!(server.blobs("inputs").len(), 2, "the refused picture was kept");
    calm.submit(picture(64, 64), &quick()).await;
    busy.post(&format!("/v1/jobs/{first}/cancel")).await;
    busy.submit(picture(64, 64), &quick()).await;
}

/// With one worker, the first job of a tenant begins after at most one job of another that has many.
#[tokio::test]
async fn a_tenant_with_many_jobs_delays_another_by_one() {
    let mut setup = Setup::new().await;
    setup.require_keys();
    let server = setup.start().await;
    let (busy, calm) = (server.client_of("busy", JOBS).await, server.client_of("calm", JOBS).await);
    let spec = json!({ "objectives": [{ "layer": "block2" }], "octaves": 2, "iterations": 10, "seed": 1 });
    let mut jobs = Vec::new();
    for _ in 0..12 {
        jobs.push(busy.submit(picture(96, 96), &spec).await);
    }
    let late = calm.submit(picture(64, 64), &quick()).await;
    calm.dream(&late).await;
    let late: Value = calm.job(&late).await;
    let mut between = 0;
    for id in &jobs {
        busy.dream(id).await;
        let job = busy.job(id).await;
        // Times of one clock, in one form: their texts are in their order.
        let (created, began) = (late["created_at"].as_str().unwrap(), job["started_at"].as_str().unwrap());
        if began > created && began < late["started_at"].as_str().unwrap() {
            between += 1;
        }
    }
    let line = format!(
        "quotas: {between} of {} jobs began between another tenant's wish and its start\n",
        jobs.len()
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
    assert!(between <= 1, "{between} jobs of the busy tenant began first");
}
