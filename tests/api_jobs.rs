//! The service over HTTP, from the upload to the dream.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{form, pointers, problem, quick},
    picture,
    server::{Setup, TestServer},
};
use reqwest::Method;
use reverie::jobs::Rescue;
use reverie_models as models;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[tokio::test]
async fn a_photo_is_posted_and_a_dream_comes_back() {
    let server = TestServer::start().await;
    let response = server.client.post_form(form(picture(96, 80), &quick())).await;
    assert_eq!(response.status(), 202);
    let headers = response.headers().clone();
    let job: Value = response.json().await.unwrap();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(headers["location"], path.as_str());
    assert!(headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert!(headers.contains_key("x-request-id"));
    assert_eq!((&job["attempt"], &job["spec"]["octave_scale"]), (&json!(0), &json!(1.4)));
    assert_eq!(job["links"]["self"], path.as_str());

    let id = job["id"].as_str().unwrap();
    let dream = server.client.dream(id).await;
    let decoded = image::load_from_memory(&dream).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (96, 80));
    let job = server.client.job(id).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(1)));
    let progress = &job["progress"];
    assert_eq!((&progress["fraction"], &progress["octave"]), (&json!(1.0), &json!(2)));
    assert!(job["metrics"]["render_seconds"].as_f64().unwrap() > 0.0, "{job}");
    assert!(job["metrics"]["queue_seconds"].as_f64().unwrap() >= 0.0, "{job}");
    assert!(job["created_at"].as_str().unwrap().ends_with('Z'), "{job}");
    assert!(job["error"].is_null() && job["queue_position"].is_null(), "{job}");

    let response = server.client.get(&format!("{path}/result")).await;
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "image/png");
    assert_eq!(headers["content-length"], dream.len().to_string().as_str());
    let name = headers["content-disposition"].to_str().unwrap();
    assert!(name.contains("dream-efficientnet-lite0-block2-") && name.ends_with(".png\""), "{name}");
    let digest: String = Sha256::digest(&dream).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(headers["etag"], format!("\"{digest}\"").as_str());
    assert_eq!(job["result"]["sha256"], digest.as_str());
    let unchanged =
        server.client.get_unless(&format!("{path}/result"), headers["etag"].to_str().unwrap()).await;
    assert_eq!(unchanged.status(), 304);
    assert!(unchanged.bytes().await.unwrap().is_empty());
    let head = server.client.request(Method::HEAD, &format!("{path}/result")).await;
    assert_eq!((head.status().as_u16(), &head.headers()["etag"]), (200, &headers["etag"]));
}

#[tokio::test]
async fn json_takes_a_data_uri() {
    let server = TestServer::start().await;
    let mut spec = quick();
    spec["format"] = "jpeg".into();
    let body = json!({ "spec": spec, "image": data_uri(&picture(64, 48)) });
    let response = server.client.post_bytes("application/json", body.to_string()).await;
    assert_eq!(response.status(), 202);
    let job: Value = response.json().await.unwrap();
    let dream = server.client.dream(job["id"].as_str().unwrap()).await;
    assert_eq!(image::guess_format(&dream).unwrap(), image::ImageFormat::Jpeg);
}

/// Percent-encoding is as good as base64 in a data URI, and needs no encoder.
fn data_uri(bytes: &[u8]) -> String {
    let escaped: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    format!("data:image/png,{escaped}")
}

#[tokio::test]
async fn an_unchanged_job_is_not_sent_again() {
    let server = TestServer::idle().await;
    let first = server.client.submit(picture(64, 64), &quick()).await;
    let second = server.client.submit(picture(64, 64), &quick()).await;
    let path = format!("/v1/jobs/{second}");
    let response = server.client.get(&path).await;
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert!(!etag.starts_with("W/"));
    assert_eq!(response.json::<Value>().await.unwrap()["queue_position"], 2);
    let unchanged = server.client.get_unless(&path, &etag).await;
    assert_eq!(unchanged.status(), 304);
    assert_eq!(unchanged.headers()["etag"], etag.as_str());
    assert!(unchanged.headers().contains_key("retry-after"));
    // The row is the same, but what is shown is not: the job has moved up.
    server.client.post(&format!("/v1/jobs/{first}/cancel")).await;
    let moved = server.client.get_unless(&path, &etag).await;
    assert_eq!(moved.status(), 200);
    assert_eq!(moved.json::<Value>().await.unwrap()["queue_position"], 1);
}

#[tokio::test]
async fn a_queued_job_is_canceled_at_once() {
    let server = TestServer::idle().await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    let path = format!("/v1/jobs/{id}");
    problem(server.client.get(&format!("{path}/result")).await, 409).await;
    for _ in 0..2 {
        let canceled = server.client.post(&format!("{path}/cancel")).await;
        assert_eq!(canceled.status(), 200);
        let job: Value = canceled.json().await.unwrap();
        assert_eq!((&job["status"], &job["links"]["cancel"]), (&json!("canceled"), &Value::Null));
    }
    let refused = problem(server.client.get(&format!("{path}/result")).await, 409).await;
    assert!(refused["detail"].as_str().unwrap().contains("canceled"), "{refused}");
}

#[tokio::test]
async fn a_running_job_is_canceled_and_the_next_one_runs() {
    let server = TestServer::start().await;
    let endless = json!({
        "objectives": [{ "layer": "block5" }], "octaves": 1, "iterations": 1000,
    });
    let id = server.client.submit(picture(320, 320), &endless).await;
    let next = server.client.submit(picture(64, 64), &quick()).await;
    server.client.job_until(&id, |job| job["progress"]["iteration"].as_u64() >= Some(1)).await;
    let asked = server.client.post(&format!("/v1/jobs/{id}/cancel")).await;
    assert_eq!(asked.status(), 200);
    assert_eq!(asked.json::<Value>().await.unwrap()["cancel_requested"], true);
    let job = server.client.job_until(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["status"], "canceled");
    assert!(job["progress"]["fraction"].as_f64().unwrap() < 0.9, "{job}");
    server.client.dream(&next).await;
    let refused = server.client.post(&format!("/v1/jobs/{next}/cancel")).await;
    problem(refused, 409).await;
    assert_eq!(server.blobs("results").len(), 1);
}

#[tokio::test]
async fn a_worker_that_lost_its_job_drops_it() {
    let server = TestServer::start().await;
    let mut spec = quick();
    spec["iterations"] = 500.into();
    let id = server.client.submit(picture(96, 80), &spec).await;
    let begun = |job: &Value| job["progress"]["iteration"].as_u64() >= Some(1);
    server.client.job_until(&id, begun).await;
    // As if the worker had been silent for longer than its lease.
    let rescued = server.state.queue.rescue(Rescue::All).await.unwrap();
    assert_eq!(rescued.len(), 1);
    // It hears of it with its next write, lets go, and takes the job again like any other.
    server.client.dream(&id).await;
    assert_eq!(server.client.job(&id).await["attempt"], 2);
    assert_eq!(server.blobs("results").len(), 1);
}

#[tokio::test]
async fn a_job_that_cannot_be_done_says_why() {
    let mut setup = Setup::new().await;
    let mut model = models::load_file(&common::models_dir().join("efficientnet-lite0.pth")).unwrap();
    model.id = "gone".into();
    std::sync::Arc::make_mut(&mut setup.catalogue).insert(model);
    let server = Setup { works: false, ..setup }.start().await;
    let mut spec = quick();
    spec["model"] = "gone".into();
    let id = server.client.submit(picture(64, 64), &spec).await;
    let folder = server.stop().await;

    let mut setup = Setup::new().await;
    setup.config.storage.dir = folder.path().join("data");
    let server = setup.start().await;
    let job = server.client.job_until(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["status"], "failed");
    assert_eq!(job["error"]["type"], "urn:reverie:problem:render-failed");
    assert!(job["error"]["detail"].as_str().unwrap().contains("\"gone\""), "{job}");
    let refused = problem(server.client.get(&format!("/v1/jobs/{id}/result")).await, 409).await;
    assert!(refused["detail"].as_str().unwrap().contains("failed"), "{refused}");
}

#[tokio::test]
async fn models_and_layers_are_listed() {
    let server = TestServer::idle().await;
    let list: Value = server.client.get("/v1/models").await.json().await.unwrap();
    let model = &list["models"][0];
    assert_eq!((&model["id"], &model["default"]), (&json!("efficientnet-lite0"), &json!(true)));
    let featured = model["featured_layers"].as_array().unwrap();
    assert!((6..=12).contains(&featured.len()) && featured.contains(&model["default_layer"]), "{model}");
    let path = model["links"]["self"].as_str().unwrap();
    assert_eq!(&server.client.get(path).await.json::<Value>().await.unwrap(), model);
    let path = model["links"]["layers"].as_str().unwrap();
    let layers: Value = server.client.get(path).await.json().await.unwrap();
    let layers = layers["layers"].as_array().unwrap();
    assert_eq!(layers.len() as u64, model["layers"].as_u64().unwrap());
    let block = layers.iter().find(|layer| layer["name"] == "block5").unwrap();
    assert_eq!((&block["channels"], &block["stride"]), (&json!(80), &json!(16)));
    assert!(block["receptive_field"].as_u64().unwrap() > 16, "{block}");
    let path = model["links"]["classes"].as_str().unwrap();
    let classes: Value = server.client.get(path).await.json().await.unwrap();
    assert_eq!(classes["classes"].as_array().unwrap().len(), 1000);
    assert_eq!(classes["classes"][291], json!({ "class": 291, "name": "lion" }));
    let refused = problem(server.client.get("/v1/models/resnet/classes").await, 404).await;
    assert!(refused["detail"].as_str().unwrap().contains("resnet"), "{refused}");
    let refused = problem(server.client.get("/v1/models/resnet").await, 404).await;
    assert!(refused["detail"].as_str().unwrap().contains("resnet"), "{refused}");
}

#[tokio::test]
async fn a_class_may_be_named_and_the_job_has_its_number() {
    let server = TestServer::idle().await;
    let spec =
        |class: &str| json!({ "objectives": [{ "kind": "class", "layer": "logits", "class": class }] });
    let id = server.client.submit(picture(64, 64), &spec("golden retriever")).await;
    assert_eq!(server.client.job(&id).await["spec"]["objectives"][0]["class"], 207);
    for (class, expected) in [
        ("lino", ["no class \"lino\"", "lion (291)"]),
        ("retriever", ["is ambiguous", "golden retriever (207)"]),
    ] {
        let refused = problem(server.client.post_form(form(picture(64, 64), &spec(class))).await, 422).await;
        assert_eq!(pointers(&refused), ["/spec/objectives/0/class"]);
        let detail = refused["errors"][0]["detail"].as_str().unwrap();
        assert!(expected.iter().all(|words| detail.contains(words)), "{detail}");
    }
}

#[tokio::test]
async fn web_pages_may_use_the_api_where_configured() {
    let mut setup = Setup::new().await;
    setup.config.server.cors_origins = vec!["https://example.org".into()];
    let server = Setup { works: false, ..setup }.start().await;
    for (origin, allowed) in [("https://example.org", true), ("https://example.com", false)] {
        let request =
            server.client.http.get(format!("{}/healthz", server.client.url)).header("origin", origin);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers().contains_key("access-control-allow-origin"), allowed, "{origin}");
    }
}
