//! What a job takes is known before it is accepted: what would be too much, or would fail, is refused with the
//! figures, and what was predicted is about what happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    catalogue,
    client::{form, pointers, problem, quick},
    picture,
    server::{Setup, TestServer},
};
use reverie_dream::model::Catalogue;
use reverie_graph::{Array, Op, Padding};
use serde_json::{Value, json};

/// A server without a worker, whose jobs may take so much.
async fn limited(seconds: Option<u64>, megabytes: Option<u64>) -> TestServer {
    let mut setup = Setup::new().await;
    setup.config.limits.max_job_seconds = seconds.map(Duration::from_secs);
    setup.config.limits.max_job_memory_mb = megabytes;
    Setup { works: false, ..setup }.start().await
}

async fn refused(server: &TestServer, (width, height): (u32, u32), spec: &Value) -> Value {
    let refused = problem(server.client.post_form(form(picture(width, height), spec)).await, 422).await;
    assert!(server.blobs("inputs").is_empty(), "{refused}");
    refused
}

#[tokio::test]
async fn too_much_work_is_refused_with_what_would_fit() {
    let (by_time, by_memory) = (limited(Some(1), None).await, limited(None, Some(100)).await);
    let spec = json!({ "iterations": 10, "octaves": 2 });
    for (server, predicted, limit) in
        [(&by_time, "seconds", "max_seconds"), (&by_memory, "memory_mb", "max_memory_mb")]
    {
        let refused = refused(server, (900, 600), &spec).await;
        assert_eq!(refused["type"], "urn:reverie:problem:too-much-work");
        let prediction = &refused["prediction"];
        assert!(prediction[predicted].as_f64() > prediction[limit].as_f64(), "{refused}");
        let edge = |name: &str| u32::try_from(prediction["largest"][name].as_u64().unwrap()).unwrap();
        let (width, height) = (edge("width"), edge("height"));
        assert!(refused["detail"].as_str().unwrap().contains(&format!("{width}×{height}")), "{refused}");
        assert!((1.4..1.6).contains(&(f64::from(width) / f64::from(height))), "{refused}");
        // What is said to fit does, and what is clearly larger does not.
        let larger = form(picture(width * 5 / 4, height * 5 / 4), &spec);
        problem(server.client.post_form(larger).await, 422).await;
        server.client.submit(picture(width, height), &spec).await;
    }
    assert_eq!(
        by_memory.client.get("/v1/jobs").await.json::<Value>().await.unwrap()["jobs"][0]["spec"]["octaves"],
        2
    );
}

async fn submitted(server: &TestServer, image: Vec<u8>, spec: &Value) -> Value {
    let id = server.client.submit(image, spec).await;
    server.client.job(&id).await
}

#[tokio::test]
async fn a_large_photo_is_priced_at_the_size_at_which_it_is_dreamed() {
    // Enough for 1280 pixels along the longer edge, and too little for three times as many.
    let server = limited(None, Some(600)).await;
    let spec = |edge: u32| json!({ "iterations": 1, "max_edge": edge });
    let kept = refused(&server, (3840, 2560), &spec(0)).await;
    assert_eq!(kept["type"], "urn:reverie:problem:too-much-work");
    let job = submitted(&server, picture(3840, 2560), &json!({ "iterations": 1 })).await;
    assert_eq!((&job["spec"]["max_edge"], &job["spec"]["octaves"]), (&json!(1280), &json!("auto")));
    let small = submitted(&server, picture(1280, 853), &json!({ "iterations": 1 })).await;
    let eta = |job: &Value| job["eta_seconds"].as_f64().unwrap();
    // The second waits for the first too.
    assert!(eta(&small) < 2.5 * eta(&job), "{} and {}", eta(&job), eta(&small));
    let too_large = server.client.post_form(form(picture(100, 100), &spec(65_536))).await;
    assert_eq!(pointers(&problem(too_large, 422).await), ["/spec/max_edge"]);
}

#[tokio::test]
async fn where_nothing_fits_the_refusal_says_so() {
    let server = limited(Some(1), None).await;
    let refused = refused(&server, (64, 64), &json!({ "iterations": 1000, "octaves": 16 })).await;
    assert_eq!(refused["type"], "urn:reverie:problem:too-much-work");
    assert_eq!(refused["prediction"]["largest"], Value::Null, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("fewer iterations"), "{refused}");
}

#[tokio::test]
async fn what_would_fail_is_refused_at_once() {
    let server = limited(None, None).await;
    let enlarged = json!({ "preset": "multiscale", "octaves": 6, "octave_scale": 4 });
    let refused = refused(&server, (200, 100), &enlarged).await;
    assert_eq!(refused["type"], "urn:reverie:problem:invalid");
    assert_eq!(pointers(&refused), ["/spec/octaves"]);
    // Fewer octaves would not help where the start is too large already.
    for preset in ["naive", "multiscale", "deepdream"] {
        let noise = json!({ "spec": { "preset": preset, "noise": { "width": 4096, "height": 4096 } } });
        let refused =
            problem(server.client.post_bytes("application/json", noise.to_string()).await, 422).await;
        assert_eq!(pointers(&refused), ["/spec/noise"]);
        assert!(refused["detail"].as_str().unwrap().contains("smaller width"), "{refused}");
    }
}

/// A model that needs 9×9 pixels for its only layer.
fn demanding() -> Catalogue {
    let conv = Op::Conv2d {
        weight: Array::new(vec![4, 3, 9, 9], vec![0.0; 972]).unwrap(),
        bias: None,
        stride: [1, 1],
        dilation: [1, 1],
        padding: Padding::Valid,
        groups: 1,
    };
    catalogue::of_one_layer("demanding", conv)
}

#[tokio::test]
async fn a_picture_too_small_for_the_model_is_refused_at_once() {
    let setup = Setup::new().await;
    let server = Setup { works: false, catalogue: Arc::new(demanding()), ..setup }.start().await;
    let refused = refused(&server, (200, 8), &json!({})).await;
    assert_eq!(
        (refused["type"].as_str(), pointers(&refused)),
        (Some("urn:reverie:problem:invalid"), vec!["/image"])
    );
    assert!(refused["detail"].as_str().unwrap().contains("200×8"), "{refused}");
    server.client.submit(picture(200, 9), &json!({})).await;
}

#[tokio::test]
async fn a_finished_job_tells_what_it_took() {
    let server = TestServer::start().await;
    let mut spec = quick();
    spec["iterations"] = json!(100);
    let id = server.client.submit(picture(96, 80), &spec).await;
    server.client.dream(&id).await;
    let job = server.client.job(&id).await;
    let metrics = &job["metrics"];
    // Two octaves, 68×57 and 96×80, with a hundred steps each.
    let expected = f64::from((68 * 57 + 96 * 80) * 100) / 1e6;
    assert_eq!(metrics["megapixel_iterations"], expected, "{job}");
    assert!(metrics["predicted_memory_mb"].as_f64().unwrap() > 0.0);
    // The machine may be busy with other tests: the benchmark tells how good predictions are.
    let (predicted, took) = (metrics["predicted_seconds"].as_f64(), metrics["render_seconds"].as_f64());
    let ratio = predicted.unwrap() / took.unwrap();
    assert!((0.1..10.0).contains(&ratio), "{job}");
    let canceled = server.client.submit(picture(96, 80), &json!({ "iterations": 1000 })).await;
    server.client.post(&format!("/v1/jobs/{canceled}/cancel")).await;
    let job = server.client.job_until(&canceled, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["metrics"]["megapixel_iterations"], Value::Null, "{job}");
}

#[tokio::test]
async fn what_was_accepted_once_is_not_refused_when_it_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    // The same folder, later with less that is allowed.
    for seconds in [None, Some(Duration::from_secs(1))] {
        let mut setup = Setup::new().await;
        setup.config.storage.dir = folder.path().to_owned();
        setup.config.limits.max_job_seconds = seconds;
        let server = Setup { works: false, ..setup }.start().await;
        let post = |key: &'static str| {
            let request = server.client.http.post(format!("{}/v1/jobs", server.client.url));
            let spec = json!({ "iterations": 10, "octaves": 2 });
            request.header("idempotency-key", key).multipart(form(picture(900, 600), &spec)).send()
        };
        let response = post("once").await.unwrap();
        assert_eq!(response.status(), 202);
        ids.push(response.json::<Value>().await.unwrap()["id"].clone());
        if seconds.is_some() {
            problem(post("twice").await.unwrap(), 422).await;
        }
        server.stop().await;
    }
    assert_eq!(ids[0], ids[1]);
}
