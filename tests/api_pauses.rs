//! Pausing and resuming a job over HTTP, in the queue and at work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{Client, problem, quick},
    events::Events,
    picture,
    server::TestServer,
};
use serde_json::{Value, json};

/// Asks something of a job that must be granted; the job.
async fn ask(client: &Client, id: &str, what: &str) -> Value {
    let answer = client.post(&format!("/v1/jobs/{id}/{what}")).await;
    assert_eq!(answer.status(), 200, "{what}");
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_tenant_has_a_hundred_paused_jobs_and_no_more() {
    let server = TestServer::idle().await;
    let client = &server.client;
    let noise = json!({ "preset": "naive", "noise": { "width": 32, "height": 32 } });
    let mut last = String::new();
    for _ in 0..100 {
        let body = json!({ "spec": noise }).to_string();
        let job: Value = client.post_bytes("application/json", body).await.json().await.unwrap();
        last = job["id"].as_str().unwrap_or_else(|| panic!("{job}")).to_owned();
        ask(client, &last, "pause").await;
    }
    // The queue is empty: they take nobody's place.
    let more = client.submit(picture(64, 64), &quick()).await;
    let refusal = problem(client.post(&format!("/v1/jobs/{more}/pause")).await, 429).await;
    assert_eq!(refusal["detail"], "this tenant may have 100 paused jobs; resume or cancel some");
    ask(client, &last, "pause").await;
    ask(client, &last, "resume").await;
    ask(client, &more, "pause").await;
}

#[tokio::test]
async fn a_queued_job_is_paused_until_it_is_resumed() {
    let server = TestServer::idle().await;
    let client = &server.client;
    let (first, second) =
        (client.submit(picture(64, 64), &quick()).await, client.submit(picture(64, 64), &quick()).await);
    let path = format!("/v1/jobs/{first}");
    let queued = client.job(&first).await;
    assert_eq!(queued["links"]["pause"], format!("{path}/pause"));
    assert_eq!(queued["links"]["resume"], Value::Null);
    let mut events = Events::open(client, &first, None).await;
    assert_eq!(events.next().await.unwrap().name, "progress");
    for _ in 0..2 {
        let paused = ask(client, &first, "pause").await;
        assert_eq!((&paused["status"], &paused["pause_requested"]), (&json!("paused"), &json!(false)));
        assert_eq!((&paused["queue_position"], &paused["eta_seconds"]), (&Value::Null, &Value::Null));
        assert_eq!(paused["links"]["resume"], format!("{path}/resume"));
        assert_eq!(paused["links"]["pause"], Value::Null);
        assert_eq!(paused["links"]["cancel"], format!("{path}/cancel"));
    }
    let event = events.next().await.unwrap();
    assert_eq!((&*event.name, &event.data["status"]), ("paused", &json!("paused")));
    assert_eq!(client.job(&second).await["queue_position"], 1);
    let status = client.get(&path).await;
    assert_eq!(status.headers()["retry-after"], "5", "nothing happens to it by itself");
    let refused = problem(client.get(&format!("{path}/result")).await, 409).await;
    assert!(refused["detail"].as_str().unwrap().contains("paused"), "{refused}");
    let listed: Value = client.get("/v1/jobs?status=paused").await.json().await.unwrap();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["jobs"][0]["id"], *first);
    let metrics = server.admin_client().get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("reverie_jobs{status=\"paused\"} 1"), "{metrics}");

    for _ in 0..2 {
        let resumed = ask(client, &first, "resume").await;
        assert_eq!((&resumed["status"], &resumed["queue_position"]), (&json!("queued"), &json!(1)));
    }
    ask(client, &first, "pause").await;
    assert_eq!(ask(client, &first, "cancel").await["status"], "canceled");
    for what in ["pause", "resume"] {
        let refused = problem(client.post(&format!("{path}/{what}")).await, 409).await;
        assert_eq!(refused["type"], "urn:reverie:problem:already-finished");
        problem(client.post(&format!("/v1/jobs/17/{what}")).await, 404).await;
    }
    ask(client, &second, "pause").await;
    assert_eq!(client.request(reqwest::Method::DELETE, &format!("/v1/jobs/{second}")).await.status(), 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_frees_its_worker_and_goes_on_to_the_same_bytes() {
    let server = TestServer::start().await;
    let client = &server.client;
    let spec = json!({
        "objectives": [{ "kind": "l2", "layer": "block3" }],
        "octaves": 2, "iterations": 10, "seed": 3, "precision": "fp32",
    });
    let photo = picture(192, 192);
    let long = client.lasting(photo.clone(), spec, 4.0).await;
    let id = client.submit(photo.clone(), &long).await;
    let preview = format!("/v1/jobs/{id}/preview");
    client.job_until(&id, |job| job["progress"]["octave"] == 2).await;
    common::until("the checkpoint is stored", async || server.blobs("checkpoints").len() == 1).await;
    let asked = ask(client, &id, "pause").await;
    assert_eq!((&asked["status"], &asked["pause_requested"]), (&json!("running"), &json!(true)));
    let paused = client.job_until(&id, |job| job["status"] == "paused").await;
    assert_eq!((&paused["pause_requested"], &paused["attempt"]), (&json!(false), &json!(0)));
    assert!(paused["progress"]["fraction"].as_f64().unwrap() > 0.0, "{paused}");
    // The worker is free for others, and what there is of the dream is kept.
    let other = client.submit(picture(64, 64), &quick()).await;
    client.dream(&other).await;
    assert_eq!(server.blobs("checkpoints").len(), 1);
    assert_eq!(client.get(&preview).await.status(), 200);

    ask(client, &id, "resume").await;
    let again = client.job_until(&id, |job| job["progress"]["octave"].is_number()).await;
    assert!(again["progress"]["resumed_from"].as_f64().unwrap() > 0.0, "{again}");
    // Paused and resumed again at once, it does not stop for good, whatever the worker has heard of it.
    ask(client, &id, "pause").await;
    ask(client, &id, "resume").await;
    let dream = client.dream(&id).await;
    assert_eq!(client.job(&id).await["attempt"], 1, "an attempt was counted");
    let undisturbed = client.submit(photo, &long).await;
    assert!(client.dream(&undisturbed).await == dream, "the pause shows in the picture");
    assert!(server.blobs("checkpoints").is_empty());
}
