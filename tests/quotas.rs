//! What one tenant may take of a server: requests, places in the queue, turns at the workers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::io::Write;

use common::{
    client::{Client, form, problem, quick},
    picture,
    server::Setup,
};
use reqwest::Method;
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

/// What a tenant's files take, and what it may have of it, as `GET /v1/usage` tells it.
async fn stored(client: &Client) -> (u64, Value) {
    let usage: Value = client.get("/v1/usage").await.json().await.unwrap();
    (usage["stored_bytes"].as_u64().unwrap(), usage["max_stored_bytes"].clone())
}

async fn dry_run(client: &Client, photo: Vec<u8>) -> Value {
    let asked = client.http.post(format!("{}/v1/dry-run", client.url)).multipart(form(photo, &quick()));
    let told = asked.send().await.unwrap();
    assert_eq!(told.status(), 200);
    told.json().await.unwrap()
}

#[tokio::test]
async fn a_tenant_stores_so_many_bytes() {
    let mut setup = Setup::new().await;
    setup.require_keys();
    setup.config.quotas.max_stored_mb = Some(1);
    let server = setup.start().await;
    let (busy, calm) = (server.client_of("busy", JOBS).await, server.client_of("calm", JOBS).await);
    assert_eq!(stored(&busy).await, (0, json!(1_000_000)));
    let photo = picture(64, 64);
    let id = busy.submit(photo.clone(), &quick()).await;
    let dream = busy.dream(&id).await;
    common::until("the checkpoint is no longer counted", async || {
        stored(&busy).await.0 == (photo.len() + dream.len()) as u64
    })
    .await;
    // A picture that compresses badly, nearly as large as the bound: the second has no room.
    let noise = image::RgbImage::from_fn(560, 560, |x, y| {
        let mixed = (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761);
        image::Rgb([(mixed >> 8) as u8, (mixed >> 16) as u8, (mixed >> 24) as u8])
    });
    let mut large = std::io::Cursor::new(Vec::new());
    noise.write_to(&mut large, image::ImageFormat::Bmp).unwrap();
    let large = large.into_inner();
    assert!((900_000..990_000).contains(&large.len()));
    let room = dry_run(&busy, large.clone()).await;
    assert_eq!((&room["accepted"], &room["refusal"]), (&json!(true), &Value::Null));
    let second = busy.submit(large.clone(), &quick()).await;
    let told = dry_run(&busy, large.clone()).await;
    assert_eq!((&told["accepted"], &told["refusal"]["status"]), (&json!(false), &json!(429)));
    let refused = busy.post_form(form(large.clone(), &quick())).await;
    assert_eq!(refused.headers()["retry-after"], "60");
    let refusal = problem(refused, 429).await;
    assert_eq!(refusal["type"], "urn:reverie:problem:quota-exceeded");
    assert_eq!(refusal["detail"], told["refusal"]["detail"]);
    let detail = refusal["detail"].as_str().unwrap();
    assert!(detail.contains("limit is 1.0 MB") && detail.contains("0.9 MB more"), "{detail}");
    assert_eq!(server.blobs("inputs").len(), 2, "the refused picture was kept");
    calm.submit(large.clone(), &quick()).await;
    // Erasing makes room.
    busy.dream(&second).await;
    assert_eq!(busy.request(Method::DELETE, &format!("/v1/jobs/{second}")).await.status(), 204);
    busy.submit(large, &quick()).await;
}

#[tokio::test]
async fn a_key_has_a_largest_priority() {
    let mut setup = Setup { works: false, ..Setup::new().await };
    let admin = setup.require_keys();
    let server = setup.start().await;
    let admin = server.client.with_key(&admin);
    let asked = json!({ "tenant": "lab", "scopes": ["jobs:read", "jobs:write"], "max_priority": 2 });
    let made = admin.http.post(format!("{}/v1/keys", admin.url)).json(&asked).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    assert_eq!(made["max_priority"], 2);
    let lab = server.client.with_key(made["key"].as_str().unwrap());
    let ask = async |path: &str, priority: i8| {
        let body = json!({ "spec": { "noise": { "width": 64, "height": 64 } }, "priority": priority });
        lab.http.post(format!("{}{path}", lab.url)).json(&body).send().await.unwrap()
    };
    for path in ["/v1/jobs", "/v1/dry-run"] {
        for priority in [-10, 0, 2] {
            assert!(ask(path, priority).await.status().is_success(), "{path} {priority}");
        }
        let refusal = problem(ask(path, 3).await, 422).await;
        assert_eq!(refusal["detail"], "/priority: must be at most 2, the largest priority of this key");
    }
    let keys: Value = admin.get("/v1/keys?tenant=lab").await.json().await.unwrap();
    assert_eq!(keys["keys"][0]["max_priority"], 2);
    // Other keys of the tenant have their own bound, or none.
    let free = server.client_of("lab", JOBS).await;
    let body = json!({ "spec": { "noise": { "width": 64, "height": 64 } }, "priority": 10 });
    let accepted = free.http.post(format!("{}/v1/jobs", free.url)).json(&body).send().await.unwrap();
    assert_eq!(accepted.status(), 202);
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
