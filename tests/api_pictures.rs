//! The pictures of a job beside its dream, and what a dream would take, over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::io::Cursor;

use common::{
    client::{Client, form, pointers, problem, quick},
    picture,
    server::{Setup, TestServer},
    until,
};
use reqwest::Response;
use serde_json::{Value, json};

/// A small picture that an answer holds: its media type, width and height.
async fn small(response: Response) -> (String, u32, u32) {
    let status = response.status();
    assert_eq!(status, 200, "{}", response.text().await.unwrap());
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let image = image::load_from_memory(&response.bytes().await.unwrap()).unwrap();
    (kind, image.width(), image.height())
}

/// Files in a folder of blobs.
fn blobs(server: &TestServer, folder: &str) -> usize {
    let folder = server.state.config.storage.dir.join(folder);
    std::fs::read_dir(folder).map_or(0, |files| files.count())
}

#[tokio::test]
async fn a_jobs_input_is_given_back_byte_for_byte() {
    let server = TestServer::idle().await;
    let client = &server.client;
    let photo = picture(90, 60);
    let id = client.submit(photo.clone(), &quick()).await;
    let path = format!("/v1/jobs/{id}/input");
    assert_eq!(client.job(&id).await["links"]["input"], path.as_str());
    let answer = client.get(&path).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"image/png".parse().unwrap())
    );
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    assert!(answer.bytes().await.unwrap() == photo);
    assert_eq!(client.get_unless(&path, &etag).await.status(), 304);
    // A dream of noise has none, and an erased job has nothing.
    let spec = json!({ "spec": { "noise": { "width": 8, "height": 8 } } }).to_string();
    let noise: Value = client.post_bytes("application/json", spec).await.json().await.unwrap();
    let told =
        problem(client.get(&format!("/v1/jobs/{}/input", noise["id"].as_str().unwrap())).await, 404).await;
    assert!(told["detail"].as_str().unwrap().contains("noise"), "{told}");
    client.request(reqwest::Method::DELETE, &format!("/v1/jobs/{id}")).await;
    problem(client.get(&path).await, 404).await;
}

#[tokio::test]
async fn a_thumbnail_shows_what_there_is_of_a_job() {
    let server = TestServer::start().await;
    let client = &server.client;
    // The first is long, so the second waits.
    let long = json!({ "objectives": [{ "layer": "block2" }], "octaves": 2, "iterations": 1000, "seed": 1 });
    let running = client.submit(picture(800, 400), &long).await;
    let id = client
        .submit(
            picture(800, 400),
            &json!({ "iterations": 1, "octaves": 1, "objectives": [{ "layer": "block2" }] }),
        )
        .await;
    let path = format!("/v1/jobs/{id}/thumbnail");
    assert_eq!(client.job(&id).await["links"]["thumbnail"], path.as_str());
    assert_eq!(small(client.get(&path).await).await, ("image/webp".into(), 320, 160));
    assert_eq!(blobs(&server, "thumbnails"), 0, "what will change is kept");
    client.post(&format!("/v1/jobs/{running}/cancel")).await;
    client.dream(&id).await;
    let answer = client.get(&path).await;
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(small(answer).await, ("image/webp".into(), 320, 160));
    assert_eq!(client.get_unless(&path, &etag).await.status(), 304);
    // It is kept, and goes with the job.
    assert_eq!(blobs(&server, "thumbnails"), 1);
    client.request(reqwest::Method::DELETE, &format!("/v1/jobs/{id}")).await;
    assert_eq!(blobs(&server, "thumbnails"), 0);
    problem(client.get(&path).await, 404).await;
}

#[tokio::test]
async fn a_dream_of_noise_has_a_thumbnail_when_there_is_something_to_see() {
    let server = TestServer::start().await;
    let client = &server.client;
    let before = client
        .submit(
            picture(64, 64),
            &json!({ "objectives": [{ "layer": "block2" }], "iterations": 1000, "octaves": 1 }),
        )
        .await;
    let spec = json!({ "noise": { "width": 40, "height": 30 }, "iterations": 1, "octaves": 1 });
    let body = json!({ "spec": spec }).to_string();
    let job: Value = client.post_bytes("application/json", body).await.json().await.unwrap();
    let id = job["id"].as_str().unwrap();
    let path = format!("/v1/jobs/{id}/thumbnail");
    let early = client.get(&path).await;
    assert!(early.headers().contains_key("retry-after"));
    assert_eq!(problem(early, 409).await["type"], "urn:reverie:problem:no-preview");
    client.post(&format!("/v1/jobs/{before}/cancel")).await;
    client.dream(id).await;
    assert_eq!(small(client.get(&path).await).await, ("image/webp".into(), 40, 30));
}

async fn dry_run(client: &Client, body: &Value) -> Response {
    let request = client.http.post(format!("{}/v1/dry-run", client.url));
    request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
}

#[tokio::test]
async fn a_dry_run_tells_what_the_job_is_told_and_leaves_nothing() {
    let server = TestServer::idle().await;
    let client = &server.client;
    let photo = picture(300, 200);
    let spec = json!({ "objectives": [{ "layer": "block5" }], "iterations": 3, "seed": 4 });
    let request = client.http.post(format!("{}/v1/dry-run", client.url)).header("idempotency-key", "a");
    let told = request.multipart(form(photo.clone(), &spec)).send().await.unwrap();
    assert_eq!(told.status(), 200);
    let told: Value = told.json().await.unwrap();
    let list: Value = client.get("/v1/jobs").await.json().await.unwrap();
    assert_eq!((list["jobs"].as_array().unwrap().len(), blobs(&server, "inputs")), (0, 0));
    assert_eq!(told["queue_position"], 1);
    // A blank picture of its size takes the same.
    let mut blank = Cursor::new(Vec::new());
    image::RgbImage::new(300, 200).write_to(&mut blank, image::ImageFormat::Png).unwrap();
    let request = client.http.post(format!("{}/v1/dry-run", client.url));
    let sized = request.multipart(form(blank.into_inner(), &spec)).send().await.unwrap();
    let sized: Value = sized.json().await.unwrap();
    assert_eq!(sized["megapixel_iterations"], told["megapixel_iterations"]);
    assert_eq!(sized["predicted_seconds"], told["predicted_seconds"]);
    let id = client.submit(photo, &spec).await;
    let job = client.job(&id).await;
    assert_eq!(told["spec"], job["spec"]);
    for name in ["predicted_seconds", "predicted_memory_mb"] {
        assert_eq!(told[name], job["metrics"][name], "{name}");
    }
    // Behind that one, it takes longer.
    let body = json!({ "spec": { "noise": { "width": 64, "height": 64 } } });
    let behind: Value = dry_run(client, &body).await.json().await.unwrap();
    assert_eq!(behind["queue_position"], 2);
    assert!(behind["eta_seconds"].as_f64().unwrap() > behind["predicted_seconds"].as_f64().unwrap());
}

#[tokio::test]
async fn a_dry_run_is_refused_as_the_job_would_be() {
    let mut setup = Setup { works: false, ..Setup::new().await };
    setup.config.queue.capacity = 1;
    let server = setup.start().await;
    let client = &server.client;
    let wrong = dry_run(client, &json!({ "spec": { "iterations": 0 } })).await;
    assert_eq!(pointers(&problem(wrong, 422).await), ["/image", "/spec/iterations"]);
    let huge =
        json!({ "spec": { "noise": { "width": 9000, "height": 9000 }, "iterations": 1000, "octaves": 1 } });
    let submitted = client.post_bytes("application/json", huge.to_string()).await;
    let refused = problem(dry_run(client, &huge).await, submitted.status().as_u16()).await;
    let mut expected: Value = submitted.json().await.unwrap();
    expected["instance"] = json!("/v1/dry-run");
    assert_eq!(refused, expected);
    let small = json!({ "spec": { "noise": { "width": 8, "height": 8 } } });
    assert_eq!(client.post_bytes("application/json", small.to_string()).await.status(), 202);
    until("the queue is full", async || dry_run(client, &small).await.status() == 429).await;
}
